// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/plugin_store.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "host/trust/signature.hpp"
#include "host/trust/testing_keys.hpp"

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

  void Sign(const trust::testing::KeyFiles& key) {
    const auto digest = trust::ParseHex(kDigest).value();
    const auto signature = trust::PrivateKey::Load(key.secret)->Sign(digest).value();
    std::ofstream(trust::SignatureFile(plugin_))
        .write(reinterpret_cast<const char*>(signature.data()), signature.size());
  }
  size_t Stored() const { return base::ListFiles(directory_).value().size(); }
  // So that a change cannot bear the time of what was verified before it; see kTickNsMax.
  static void AwaitAnotherTick(const std::filesystem::path& path) {
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    timespec until = status.st_ctim;
    until.tv_nsec += 20'000'000;
    until.tv_sec += until.tv_nsec / 1'000'000'000;
    until.tv_nsec %= 1'000'000'000;
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, nullptr);
  }

  base::TempDir temp_;
  const trust::Policy any_{true, {}, {}};
  std::filesystem::path plugin_;
  std::filesystem::path directory_;
  std::optional<PluginStore> store_;
};

TEST_F(PluginStoreTest, CopiesUnderTheDigestReadableAndNotWritable) {
  const auto stored = store_->Add(plugin_, any_);
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
  const auto first = store_->Add(plugin_, any_);
  ASSERT_TRUE(first);
  Write(plugin_, "another");
  const auto second = store_->Add(plugin_, any_);
  ASSERT_TRUE(second);
  EXPECT_NE(first->path, second->path);
  EXPECT_EQ(Content(first->path), "plugin");
  EXPECT_EQ(Content(second->path), "another");
}

TEST_F(PluginStoreTest, AddingTheSameBytesAgainKeepsTheSameFile) {
  const auto first = store_->Add(plugin_, any_);
  ASSERT_TRUE(first);
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat(first->path.c_str(), &before), 0);
  ASSERT_TRUE(store_->Add(plugin_, any_));
  ASSERT_EQ(stat(first->path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(PluginStoreTest, ReplacesADamagedObjectAndFindsItDamagedBefore) {
  const auto first = store_->Add(plugin_, any_);
  ASSERT_TRUE(first);
  std::filesystem::remove(first->path);
  Write(first->path, "plugix");
  const auto damaged = store_->Find(kDigest);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, base::Code::kDataLoss);
  EXPECT_THAT(damaged.error().message, ::testing::HasSubstr(first->path.string()));
  ASSERT_TRUE(store_->Add(plugin_, any_));
  EXPECT_EQ(Content(first->path), "plugin");
  EXPECT_TRUE(store_->Find(kDigest));
}

TEST_F(PluginStoreTest, ManyAtOnceMakeOneObjectAndLeaveNoOther) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([this] { EXPECT_TRUE(store_->Add(plugin_, any_)); });
  for (auto& thread : threads) thread.join();
  const auto files = base::ListFiles(directory_);
  ASSERT_TRUE(files);
  EXPECT_EQ(files->size(), 1U);
}

TEST_F(PluginStoreTest, RefusesWhatIsNoPluginFile) {
  EXPECT_EQ(store_->Add(temp_.path() / "missing.so", any_).error().code, base::Code::kNotFound);
  EXPECT_EQ(store_->Add(temp_.path(), any_).error().code, base::Code::kInvalidArgument);
  ASSERT_EQ(mkfifo((temp_.path() / "fifo.so").c_str(), 0600), 0);
  EXPECT_EQ(store_->Add(temp_.path() / "fifo.so", any_).error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(store_->Find("../nfs").error().code, base::Code::kInvalidArgument);
}

TEST_F(PluginStoreTest, WhatIsNotTrustedIsNotStored) {
  const auto refused = store_->Add(plugin_, trust::Policy{});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, base::Code::kPermissionDenied);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr(kDigest));
  EXPECT_EQ(Stored(), 0U);
}

TEST_F(PluginStoreTest, StoresWhatIsSignedAndRefusesItOnceTampered) {
  const auto key = trust::testing::MakeKey(temp_.path(), "vendor");
  const trust::Policy policy{false, {}, {key.open}};
  EXPECT_EQ(store_->Add(plugin_, policy).error().code, base::Code::kPermissionDenied);
  Sign(key);
  const auto stored = store_->Add(plugin_, policy);
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_THAT(stored->trusted, ::testing::HasSubstr(key.open.string()));
  Write(plugin_, "plugiN");
  EXPECT_EQ(store_->Add(plugin_, policy).error().code, base::Code::kPermissionDenied);
  EXPECT_EQ(Stored(), 1U);
}

// Whatever is read and when: what was judged is the copy, so a swap comes too early or too late.
TEST_F(PluginStoreTest, APluginSwappedDuringTheCheckIsNotWhatIsLoaded) {
  // Large, so that many swaps fall into one copying.
  constexpr size_t kBytes = 4U << 20;
  const auto other = temp_.path() / "other.so";
  Write(plugin_, std::string(kBytes, 'g'));
  Write(other, std::string(kBytes, 'e'));
  const auto good = store_->Add(plugin_, any_);
  ASSERT_TRUE(good);
  const trust::Policy policy{false, {trust::ParseHex(good->digest).value()}, {}};
  std::atomic<bool> done{false};
  std::thread swapper([&] {
    while (!done) renameat2(AT_FDCWD, plugin_.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE);
  });
  int refused = 0;
  constexpr int kTries = 40;
  for (int i = 0; i < kTries; ++i) {
    const auto stored = store_->Add(plugin_, policy);
    if (stored) {
      EXPECT_EQ(stored->digest, good->digest);
    } else {
      ++refused;
    }
  }
  done = true;
  swapper.join();
  EXPECT_EQ(Stored(), 1U);
  EXPECT_GT(refused, 0) << "no swap came between";
}

TEST_F(PluginStoreTest, AnObjectSwappedAfterTheCheckIsNotUsed) {
  const auto stored = store_->Add(plugin_, any_);
  ASSERT_TRUE(stored);
  AwaitAnotherTick(stored->path);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(store_->Verify(stored->path));
  Write(temp_.path() / "evil", "plugiN");
  std::filesystem::rename(temp_.path() / "evil", stored->path);
  chmod(stored->path.c_str(), 0555);
  EXPECT_EQ(store_->Verify(stored->path).error().code, base::Code::kDataLoss);
  ASSERT_TRUE(store_->Add(plugin_, any_));
  EXPECT_TRUE(store_->Verify(stored->path));
}

TEST_F(PluginStoreTest, AnObjectChangedInPlaceIsNotUsedThoughItsTimeIsPutBack) {
  const auto stored = store_->Add(plugin_, any_);
  ASSERT_TRUE(stored);
  AwaitAnotherTick(stored->path);
  ASSERT_TRUE(store_->Verify(stored->path));
  struct stat before {};
  ASSERT_EQ(stat(stored->path.c_str(), &before), 0);
  ASSERT_EQ(chmod(stored->path.c_str(), 0755), 0);
  Write(stored->path, "plugiN");
  ASSERT_EQ(chmod(stored->path.c_str(), 0555), 0);
  const timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, stored->path.c_str(), times, 0), 0);
  EXPECT_EQ(store_->Verify(stored->path).error().code, base::Code::kDataLoss);
}

TEST_F(PluginStoreTest, AnObjectThatOthersMayWriteIsNotUsed) {
  const auto stored = store_->Add(plugin_, any_);
  ASSERT_TRUE(stored);
  ASSERT_EQ(chmod(stored->path.c_str(), 0757), 0);
  const auto verified = store_->Verify(stored->path);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().code, base::Code::kPermissionDenied);
}

TEST_F(PluginStoreTest, VerifiesWhatLiesInTheStoreOnly) {
  Write(temp_.path() / (std::string(kDigest) + ".so"), "plugin");
  EXPECT_EQ(store_->Verify(temp_.path() / (std::string(kDigest) + ".so")).error().code,
            base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::supervise
