// SPDX-License-Identifier: Apache-2.0
#include "host/services/kv.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

using base::Code;
using ::testing::ElementsAre;

class KvTest : public ::testing::Test {
 protected:
  KvTest() : kv_(temp_.path(), [this] { return now_.load(); }) {}
  base::TempDir temp_;
  std::atomic<uint64_t> now_{1000};
  FileKv kv_;
};

TEST_F(KvTest, GivesBackWhatWasPut) {
  const std::string value("a\0\nb", 4);
  const auto version = kv_.Put("b", "key", value, 0);
  ASSERT_TRUE(version) << version.error().message;
  const auto got = kv_.Get("b", "key");
  ASSERT_TRUE(got);
  EXPECT_EQ(got->value, value);
  EXPECT_EQ(got->version, *version);
  EXPECT_EQ(kv_.Get("b", "other").error().code, Code::kNotFound);
  EXPECT_EQ(kv_.Get("c", "key").error().code, Code::kNotFound);
}

TEST_F(KvTest, SwapsOnlyTheVersionThatIsExpected) {
  const uint64_t first = kv_.Put("b", "key", "1", 0).value();
  EXPECT_EQ(kv_.Put("b", "key", "2", 0).error().code, Code::kAborted);
  EXPECT_EQ(kv_.Put("b", "key", "2", first + 1).error().code, Code::kAborted);
  const uint64_t second = kv_.Put("b", "key", "2", first).value();
  EXPECT_GT(second, first);
  EXPECT_EQ(kv_.Remove("b", "key", first).error().code, Code::kAborted);
  EXPECT_EQ(kv_.Get("b", "key")->value, "2");
  EXPECT_TRUE(kv_.Remove("b", "key", second));
  EXPECT_EQ(kv_.Get("b", "key").error().code, Code::kNotFound);
  EXPECT_TRUE(kv_.Remove("b", "key", 0));
  EXPECT_EQ(kv_.Put("b", "new", "1", 7).error().code, Code::kAborted);
}

TEST_F(KvTest, AVersionIsNotGivenTwiceWhenAKeyIsMadeAgain) {
  const uint64_t first = kv_.Put("b", "key", "1", 0).value();
  ASSERT_TRUE(kv_.Remove("b", "key", first));
  ++now_;
  EXPECT_NE(kv_.Put("b", "key", "2", 0).value(), first);
}

TEST_F(KvTest, VersionsRiseWhenTheClockGoesBack) {
  const uint64_t first = kv_.Put("b", "key", "1", 0).value();
  now_ = 1;
  EXPECT_GT(kv_.Put("b", "key", "2", first).value(), first);
}

TEST_F(KvTest, OfManyWhoSwapTheSameVersionOneWins) {
  const uint64_t version = kv_.Put("b", "key", "0", 0).value();
  std::atomic<int> won{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      if (kv_.Put("b", "key", std::to_string(i), version)) ++won;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
}

TEST_F(KvTest, ScansInTheOrderOfBytes) {
  for (const char* key : {"b", "a-1", "a", "a.1", "aZ", "..", "."})
    ASSERT_TRUE(kv_.Put("b", key, "", 0)) << key;
  EXPECT_THAT(*kv_.Scan("b", ""), ElementsAre(".", "..", "a", "a-1", "a.1", "aZ", "b"));
  EXPECT_THAT(*kv_.Scan("b", "a"), ElementsAre("a", "a-1", "a.1", "aZ"));
  EXPECT_THAT(*kv_.Scan("none", ""), ElementsAre());
}

TEST_F(KvTest, RefusesKeysAndValuesBeyondTheirLimits) {
  for (const std::string& key :
       {std::string(), std::string("a/b"), std::string("a b"), std::string("ä"),
        std::string("a\0b", 3), std::string(kKvKeyBytesMax + 1, 'x'), std::string("../../x")})
    EXPECT_EQ(kv_.Put("b", key, "", 0).error().code, Code::kInvalidArgument) << key;
  EXPECT_TRUE(kv_.Put("b", std::string(kKvKeyBytesMax, 'x'), "", 0));
  EXPECT_EQ(kv_.Put("b", "k", std::string(kKvValueBytesMax + 1, 'x'), 0).error().code,
            Code::kInvalidArgument);
  EXPECT_TRUE(kv_.Put("b", "k", std::string(kKvValueBytesMax, 'x'), 0));
  EXPECT_EQ(kv_.Get("b", "k")->value.size(), kKvValueBytesMax);
  EXPECT_EQ(kv_.Scan("b", "a/").error().code, Code::kInvalidArgument);
}

TEST_F(KvTest, ABackendHasABoundedNumberOfKeys) {
  std::filesystem::create_directory(temp_.path() / "b");
  for (size_t i = 0; i < kKvKeysMax; ++i)
    std::ofstream(temp_.path() / "b" / (std::to_string(i) + "=")) << "gantry-kv 1 1 0\n";
  EXPECT_EQ(kv_.Put("b", "more", "", 0).error().code, Code::kResourceExhausted);
  EXPECT_TRUE(kv_.Put("b", "0", "x", 1));
}

TEST_F(KvTest, ATemporaryLeftByACrashIsNoKeyAndInNobodysWay) {
  const uint64_t version = kv_.Put("b", "key", "old", 0).value();
  std::ofstream(temp_.path() / "b" / "key=.tmp") << "gantry-kv 1 99 100\nhalf";
  EXPECT_THAT(*kv_.Scan("b", ""), ElementsAre("key"));
  EXPECT_EQ(kv_.Get("b", "key")->value, "old");
  EXPECT_TRUE(kv_.Put("b", "key", "new", version));
  EXPECT_TRUE(kv_.Put("b", "key.tmp", "its own", 0));
  EXPECT_EQ(kv_.Get("b", "key")->value, "new");
}

TEST_F(KvTest, ADamagedFileIsNamedAndNotTakenForAbsent) {
  ASSERT_TRUE(kv_.Put("b", "key", "value", 0));
  const auto file = temp_.path() / "b" / "key=";
  for (const char* content : {"", "value", "gantry-kv 1 5 100\nshort", "gantry-kv 2 5 1\nx",
                              "gantry-kv 1 0 1\nx", "gantry-kv 1 5 1 x"}) {
    std::ofstream(file, std::ios::trunc) << content;
    const auto got = kv_.Get("b", "key");
    ASSERT_FALSE(got) << content;
    EXPECT_EQ(got.error().code, Code::kDataLoss);
    EXPECT_THAT(got.error().message, ::testing::HasSubstr(file.string()));
    EXPECT_EQ(kv_.Put("b", "key", "x", 0).error().code, Code::kDataLoss);
  }
}

TEST_F(KvTest, FilesAreTheHostsAlone) {
  ASSERT_TRUE(kv_.Put("b", "key", "value", 0));
  struct stat status {};
  ASSERT_EQ(stat((temp_.path() / "b" / "key=").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

}  // namespace
}  // namespace gantry::services
