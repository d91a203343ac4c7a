// SPDX-License-Identifier: Apache-2.0
#include "host/core/reconcile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/core/cancel_flag.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using ::testing::ElementsAre;
using testing::FakeDriver;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ReconcileTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, const std::string& boot_id, bool staged) {
    NodeVolume volume;
    volume.volume_id = "fast:" + name;
    volume.backend = "fast";
    volume.handle = name;
    volume.staging_path = "/kubelet/staging/" + name;
    volume.boot_id = boot_id;
    volume.staged = staged;
    volume.targets = {{"/kubelet/pods/" + name, false, ""}};
    fake.node_state.volumes[volume.volume_id] = volume;
  }
  void Mount(const std::string& path) { fake.broker.mounts[path] = {}; }
  Reconciliation Run() {
    return Reconcile({&fake.driver()}, fake.node_state, [&] {
      return CallContext{testing::Soon().deadline, &cancel};
    });
  }

  FakeDriver fake;
  CancelFlag cancel;
};

TEST_F(ReconcileTest, TakesDownAndForgetsWhatARebootHasLeft) {
  Add("old", "boot-0", true);
  Add("intent", "boot-0", false);
  const auto found = Run();
  EXPECT_EQ(found.records, 2U);
  EXPECT_EQ(found.forgotten, 2U);
  EXPECT_THAT(found.notes, IsEmpty());
  EXPECT_TRUE(fake.node_state.volumes.empty());
  EXPECT_EQ(fake.backend().seen(channel::DETACH).size(), 2U);
}

TEST_F(ReconcileTest, KeepsARecordOfAnotherBootWhileAnythingOfItIsMounted) {
  Add("staged", "boot-0", true);
  Add("published", "boot-0", true);
  Mount("/kubelet/staging/staged");
  Mount("/kubelet/pods/published");
  EXPECT_EQ(Run().forgotten, 0U);
  EXPECT_EQ(fake.node_state.volumes.size(), 2U);
  EXPECT_EQ(fake.broker.mounts.size(), 2U);
}

TEST_F(ReconcileTest, KeepsAndNamesWhatDoesNotFitTogetherInThisBoot) {
  Add("lost", "boot-1", true);
  Add("intent", "boot-1", false);
  Add("well", "boot-1", true);
  Mount("/kubelet/staging/well");
  const auto found = Run();
  EXPECT_EQ(found.forgotten, 0U);
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("fast:intent"), HasSubstr("fast:lost")));
  EXPECT_EQ(fake.node_state.volumes.size(), 3U);
}

TEST_F(ReconcileTest, KeepsWhatItsBackendCannotDetach) {
  Add("old", "boot-0", true);
  fake.backend().Answers(channel::DETACH,
                         tl::unexpected(testing::Refusal(base::Code::kUnavailable, "away")));
  const auto found = Run();
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("away")));
  EXPECT_EQ(fake.node_state.volumes.size(), 1U);
}

TEST_F(ReconcileTest, LeavesAVolumeThatACallIsBusyWith) {
  Add("old", "boot-0", true);
  const auto busy = fake.driver().Lock({"node volume fast:old"});
  ASSERT_TRUE(busy);
  EXPECT_THAT(Run().notes, ElementsAre(HasSubstr("fast:old")));
  EXPECT_EQ(fake.node_state.volumes.size(), 1U);
}

TEST_F(ReconcileTest, EndsWhenTheHostDoes) {
  Add("old", "boot-0", true);
  cancel.Cancel();
  EXPECT_EQ(Run().forgotten, 0U);
}

}  // namespace
}  // namespace gantry::core
