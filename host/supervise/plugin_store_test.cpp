// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/plugin_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::supervise {
namespace {

// sha256sum of "plugin"
constexpr const char* kDigest = "5e689e2b01672bf33996e75d5e372ff60c536ce1599a1458e867cd8f4bef5160";

class PluginStoreTest : public ::testing::Test {
 protected:
  PluginStoreTest() : plugin_(temp_.path() / "nfs.so"), directory_(temp_.path() / "store") {
    Write(plugin_, "plugin");
    auto store = PluginStore::Open(directory_);
    if (!store) throw std::runtime_error(store.error().message);
    store_.emplace(std::move(*store));
  }

  static void Write(const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::trunc) << content;
  }
  static std::string Content(const std::filesystem::path& path) {
    return base::ReadFile(path, 1 << 20).value_or("cannot be read");
  }

  base::TempDir temp_;
  std::filesystem::path plugin_;
  std::filesystem::path directory_;
  std::optional<PluginStore> store_;
};

TEST_F(PluginStoreTest, CopiesUnderTheDigestReadableAndNotWritable) {
  const auto stored = store_->Add(plugin_);
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(stored->digest, kDigest);
  EXPECT_EQ(stored->path, directory_ / (std::string(kDigest) + ".so"));
  EXPECT_EQ(Content(stored->path), "plugin");
  struct stat status {};
  ASSERT_EQ(stat(stored->path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0555U);
  ASSERT_EQ(stat(directory_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 05U, 05U);
}

TEST_F(PluginStoreTest, KeepsAnObjectWhenItsSourceIsReplacedInPlace) {
  const auto first = store_->Add(plugin_);
  ASSERT_TRUE(first);
  Write(plugin_, "another");
  const auto second = store_->Add(plugin_);
  ASSERT_TRUE(second);
  EXPECT_NE(first->path, second->path);
  EXPECT_EQ(Content(first->path), "plugin");
  EXPECT_EQ(Content(second->path), "another");
}

TEST_F(PluginStoreTest, AddingTheSameBytesAgainKeepsTheSameFile) {
  const auto first = store_->Add(plugin_);
  ASSERT_TRUE(first);
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat(first->path.c_str(), &before), 0);
  ASSERT_TRUE(store_->Add(plugin_));
  ASSERT_EQ(stat(first->path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(PluginStoreTest, ReplacesADamagedObjectAndFindsItDamagedBefore) {
  const auto first = store_->Add(plugin_);
  ASSERT_TRUE(first);
  std::filesystem::remove(first->path);
  Write(first->path, "plugix");
  const auto damaged = store_->Find(kDigest);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, base::Code::kDataLoss);
  EXPECT_THAT(damaged.error().message, ::testing::HasSubstr(first->path.string()));
  ASSERT_TRUE(store_->Add(plugin_));
  EXPECT_EQ(Content(first->path), "plugin");
  EXPECT_TRUE(store_->Find(kDigest));
}

TEST_F(PluginStoreTest, ManyAtOnceMakeOneObjectAndLeaveNoOther) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([this] { EXPECT_TRUE(store_->Add(plugin_)); });
  for (auto& thread : threads) thread.join();
  const auto files = base::ListFiles(directory_);
  ASSERT_TRUE(files);
  EXPECT_EQ(files->size(), 1U);
}

TEST_F(PluginStoreTest, RefusesWhatIsNoPluginFile) {
  EXPECT_EQ(store_->Add(temp_.path() / "missing.so").error().code, base::Code::kNotFound);
  EXPECT_EQ(store_->Add(temp_.path()).error().code, base::Code::kInvalidArgument);
  ASSERT_EQ(mkfifo((temp_.path() / "fifo.so").c_str(), 0600), 0);
  EXPECT_EQ(store_->Add(temp_.path() / "fifo.so").error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(store_->Find("../nfs").error().code, base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::supervise
