// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "host/core/controller.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::CodeOf;
using testing::Describe;
using testing::Emits;
using testing::FakeDriver;
using testing::Refusal;
using testing::Soon;
using testing::VolumeEmit;

TEST(ListVolumes, GoesOverAllBackendsPageByPage) {
  FakeDriver fake(
      {{"fast", Describe(testing::AllOperations())}, {"slow", Describe(testing::AllOperations())}});
  for (const std::string name : {"fast", "slow"})
    fake.backend(name).On(channel::LIST_VOLUMES, [](const BackendCall& call) -> testing::Answer {
      Emits emits;
      for (const std::string handle : {"v1", "v2", "v3"})
        if (handle > call.message.after() && emits.size() < call.message.max_entries())
          emits.push_back(VolumeEmit(handle));
      return emits;
    });
  const Controller controller(fake.driver());
  std::vector<std::string> ids;
  csi::v1::ListVolumesRequest request;
  request.set_max_entries(2);
  do {
    const auto page = controller.ListVolumes(request, Soon());
    ASSERT_TRUE(page);
    EXPECT_LE(page->entries_size(), 2);
    for (const auto& entry : page->entries()) ids.push_back(entry.volume().volume_id());
    request.set_starting_token(page->next_token());
  } while (!request.starting_token().empty() && ids.size() < 10);
  EXPECT_EQ(ids, (std::vector<std::string>{"fast:v1", "fast:v2", "fast:v3", "slow:v1", "slow:v2",
                                           "slow:v3"}));
}

TEST(ListVolumes, IsAnErrorRatherThanAShortList) {
  FakeDriver fake(
      {{"fast", Describe(testing::AllOperations())}, {"slow", Describe(testing::AllOperations())}});
  fake.backend("fast").Answers(channel::LIST_VOLUMES, Emits{VolumeEmit("v1")});
  fake.backend("slow").Answers(channel::LIST_VOLUMES, tl::unexpected(Refusal(Code::kUnavailable)));
  EXPECT_EQ(CodeOf(Controller(fake.driver()).ListVolumes({}, Soon())), Code::kUnavailable);
}

TEST(ListVolumes, RefusesABackendThatListsBackwards) {
  FakeDriver fake;
  fake.backend().Answers(channel::LIST_VOLUMES, Emits{VolumeEmit("v2"), VolumeEmit("v1")});
  EXPECT_EQ(CodeOf(Controller(fake.driver()).ListVolumes({}, Soon())), Code::kUnavailable);
  fake.backend().Answers(channel::LIST_VOLUMES, Emits{VolumeEmit("v1"), VolumeEmit("v1")});
  EXPECT_EQ(CodeOf(Controller(fake.driver()).ListVolumes({}, Soon())), Code::kUnavailable);
}

TEST(ListVolumes, CutsAPageThatAGoClientWouldNotTake) {
  FakeDriver fake;
  constexpr int kVolumes = 2000;
  fake.backend().On(channel::LIST_VOLUMES, [](const BackendCall& call) -> testing::Answer {
    Emits emits;
    for (int i = 1000; i < 1000 + kVolumes; ++i) {
      auto emit = VolumeEmit("v" + std::to_string(i));
      (*emit.mutable_volume()->mutable_context())["long"] = std::string(4000, 'x');
      if (emit.volume().handle() > call.message.after()) emits.push_back(std::move(emit));
    }
    return emits;
  });
  const Controller controller(fake.driver());
  csi::v1::ListVolumesRequest request;
  int listed = 0;
  int pages = 0;
  do {
    const auto page = controller.ListVolumes(request, Soon());
    ASSERT_TRUE(page);
    EXPECT_LT(page->ByteSizeLong(), 4U * 1024 * 1024);
    listed += page->entries_size();
    request.set_starting_token(page->next_token());
  } while (!request.starting_token().empty() && ++pages < 10);
  EXPECT_EQ(listed, kVolumes);
  EXPECT_EQ(pages, 2);
}

TEST(ListVolumes, RefusesBadArguments) {
  FakeDriver fake;
  const Controller controller(fake.driver());
  csi::v1::ListVolumesRequest request;
  request.set_starting_token("not a token");
  EXPECT_EQ(CodeOf(controller.ListVolumes(request, Soon())), Code::kAborted);
  request.clear_starting_token();
  request.set_max_entries(-1);
  EXPECT_EQ(CodeOf(controller.ListVolumes(request, Soon())), Code::kInvalidArgument);
}

TEST(ListVolumes, SaysConditionAndNodes) {
  FakeDriver fake;
  auto emit = VolumeEmit("v1");
  emit.mutable_volume()->add_published_node_ids("node-1");
  emit.mutable_volume()->set_condition(GANTRY_CONDITION_ABNORMAL);
  emit.mutable_volume()->set_condition_message("directory is gone");
  fake.backend().Answers(channel::LIST_VOLUMES, Emits{emit});
  const auto page = Controller(fake.driver()).ListVolumes({}, Soon());
  ASSERT_TRUE(page);
  EXPECT_EQ(page->entries(0).status().published_node_ids(0), "node-1");
  EXPECT_TRUE(page->entries(0).status().volume_condition().abnormal());
}

}  // namespace
}  // namespace gantry::core
