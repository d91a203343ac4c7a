// SPDX-License-Identifier: Apache-2.0
// Against a real cluster: compare and swap, pages, and who is away or refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugins/cephfs/cluster/cluster.hpp"
#include "tests/lab/ceph.hpp"

namespace gantry::cephfs {
namespace {

using namespace std::chrono_literals;
using lab::CephDaemon;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

const nlohmann::json kList = {{"prefix", "fs subvolume ls"}, {"vol_name", "cephfs"}};

class ClusterOnCeph : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = lab::Ceph::Start();
    ASSERT_TRUE(started) << started.error().message;
    ceph_ = new lab::Ceph(std::move(*started));
  }
  static void TearDownTestSuite() {
    delete ceph_;
    ceph_ = nullptr;
  }

  static TimePoint Soon(std::chrono::milliseconds time = 20s) {
    return std::chrono::steady_clock::now() + time;
  }
  static ClusterConfig Config(const std::string& records) {
    return {"[v2:" + ceph_->monitor() + "]", "admin", ceph_->filesystem(), "", records, 20s};
  }
  static Cluster::KeyReader Key(const std::string* key) {
    return [key](TimePoint) -> plugin::Result<SecretText> { return SecretText(*key); };
  }

  static lab::Ceph* ceph_;
};
lab::Ceph* ClusterOnCeph::ceph_ = nullptr;

TEST_F(ClusterOnCeph, SwapsOnlyWhatIsAsExpected) {
  const std::string key = ceph_->admin_key();
  Cluster one(Config("swap"), Key(&key));
  Cluster other(Config("swap"), Key(&key));
  EXPECT_EQ(*one.Read("object", "a", Soon()), std::nullopt);
  EXPECT_EQ(*one.Swap("object", "a", "", "1", Soon()), true);
  EXPECT_EQ(*other.Swap("object", "a", "", "2", Soon()), false);
  EXPECT_EQ(*other.Read("object", "a", Soon()), "1");
  EXPECT_EQ(*other.Swap("object", "a", "0", "2", Soon()), false);
  EXPECT_EQ(*other.Swap("object", "a", "1", "2", Soon()), true);
  EXPECT_EQ(*one.Swap("object", "a", "1", "", Soon()), false);
  EXPECT_EQ(*one.Swap("object", "a", "2", "", Soon()), true);
  EXPECT_EQ(*one.Read("object", "a", Soon()), std::nullopt);
}

TEST_F(ClusterOnCeph, GivesPagesInOrderAndOneNamespaceAlone) {
  const std::string key = ceph_->admin_key();
  Cluster cluster(Config("pages"), Key(&key));
  Cluster stranger(Config("other"), Key(&key));
  for (const char* name : {"b", "a", "c"})
    ASSERT_EQ(*cluster.Swap("object", name, "", std::string("is ") + name, Soon()), true);
  EXPECT_THAT(*cluster.Page("object", "", 2, Soon()),
              ElementsAre(Pair("a", "is a"), Pair("b", "is b")));
  EXPECT_THAT(*cluster.Page("object", "b", 2, Soon()), ElementsAre(Pair("c", "is c")));
  EXPECT_TRUE(stranger.Page("object", "", 2, Soon())->empty());
  EXPECT_TRUE(cluster.Page("nosuch", "", 2, Soon())->empty());
}

TEST_F(ClusterOnCeph, ReadsTheKeyAgainWhereItWasRefused) {
  std::string key = "AQC8kQJrhbx7DxAAWkoAiqi2X+zHUPZc5/A7dg==";
  Cluster cluster(Config("key"), Key(&key));
  const auto refused = cluster.AskManager(kList, Soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, plugin::code::kUnauthenticated);
  EXPECT_THAT(refused.error().message, Not(HasSubstr(key)));
  key = ceph_->admin_key();
  const auto answered = cluster.AskManager(kList, Soon());
  ASSERT_TRUE(answered) << answered.error().message;
  EXPECT_TRUE(answered->ok()) << answered->words;
}

TEST_F(ClusterOnCeph, LeavesAManagerThatHangsAtTheDeadlineAndTakesItsLateAnswers) {
  const std::string key = ceph_->admin_key();
  Cluster cluster(Config("hang"), Key(&key));
  ASSERT_TRUE(cluster.AskManager(kList, Soon()));
  ASSERT_TRUE(ceph_->Freeze(CephDaemon::kMgr));
  // More than there are threads, so that the last ones wait for their turn.
  for (int i = 0; i < 6; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto left = cluster.AskManager(kList, Soon(200ms));
    ASSERT_FALSE(left);
    EXPECT_EQ(left.error().code, plugin::code::kUnavailable);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  }
  EXPECT_TRUE(cluster.AskMonitor({{"prefix", "fs ls"}}, Soon()));
  ASSERT_TRUE(ceph_->Thaw(CephDaemon::kMgr));
  const auto answered = cluster.AskManager(kList, Soon());
  ASSERT_TRUE(answered) << answered.error().message;
  EXPECT_TRUE(answered->ok()) << answered->words;
}

TEST_F(ClusterOnCeph, NamesTheFilesystemThatIsNotThere) {
  const std::string key = ceph_->admin_key();
  ClusterConfig config = Config("fs");
  config.fs_name = "nosuch";
  Cluster cluster(config, Key(&key));
  const auto refused = cluster.AskManager(kList, Soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, plugin::code::kFailedPrecondition);
  EXPECT_THAT(refused.error().message, HasSubstr("fsName is \"nosuch\""));
}

}  // namespace
}  // namespace gantry::cephfs
