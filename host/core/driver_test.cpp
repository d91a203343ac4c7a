// SPDX-License-Identifier: Apache-2.0
// Where ids lead that no backend of ours has made, and where those of one that has not started.
#include "host/core/driver.hpp"

#include <gtest/gtest.h>

#include <set>

#include "host/core/controller.hpp"
#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using base::Code;
using testing::AllOperations;
using testing::CodeOf;
using testing::Describe;
using testing::FakeDriver;
using testing::Soon;

csi::v1::CreateVolumeRequest CreateIn(const std::string& backend) {
  csi::v1::CreateVolumeRequest request;
  request.set_name("pvc-1");
  *request.add_volume_capabilities() = testing::MountCapability();
  (*request.mutable_parameters())["backend"] = backend;
  return request;
}

TEST(ABackendThatHasNotStarted, IsUnavailableAndNeverLacking) {
  FakeDriver fake({{"fast", Describe(AllOperations())}, {"slow", Describe(AllOperations())}});
  fake.backend("slow").BeUnknown();
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateIn("slow"), Soon())), Code::kUnavailable);
  csi::v1::DeleteVolumeRequest removal;
  removal.set_volume_id("slow:v1");
  EXPECT_EQ(CodeOf(controller.DeleteVolume(removal, Soon())), Code::kUnavailable);
  EXPECT_EQ(CodeOf(controller.ListVolumes({}, Soon())), Code::kUnavailable);
  EXPECT_TRUE(fake.backend("slow").seen().empty());
  fake.backend("fast").BeUnknown();
  EXPECT_EQ(CodeOf(controller.CreateVolume(CreateIn("fast"), Soon())), Code::kUnavailable)
      << "UNIMPLEMENTED would be final";
}

TEST(Driver, AStaticVolumeThatNamesNoBackendIsTheDefaults) {
  FakeDriver fake(
      {{"slow", Describe(testing::AllOperations())}, {"fast", Describe(testing::AllOperations())}});
  csi::v1::ControllerPublishVolumeRequest request;
  request.set_node_id("node-1");
  *request.mutable_volume_capability() = testing::MountCapability();
  request.set_volume_id("server#share");
  const Controller controller(fake.driver());
  EXPECT_EQ(CodeOf(controller.ControllerPublishVolume(request, Soon())), Code::kOk);
  EXPECT_EQ(fake.backend("slow").seen().at(0).message.handle(), "server#share");
  EXPECT_TRUE(fake.backend("fast").seen().empty());
}

TEST(Driver, WhereAVolumeIsStagedComesBeforeWhatAContextSays) {
  FakeDriver fake(
      {{"slow", Describe(testing::AllOperations())}, {"fast", Describe(testing::AllOperations())}});
  NodeVolume& staged = fake.node_state.volumes["server#share"];
  staged.volume_id = staged.handle = "server#share";
  staged.backend = "fast";
  const auto backend_of = [&](const google::protobuf::Map<std::string, std::string>* context) {
    const auto located = fake.driver().Locate(IdKind::kVolume, "server#share", context);
    return located ? located->backend->name() : base::CodeName(located.error().code);
  };
  google::protobuf::Map<std::string, std::string> context;
  EXPECT_EQ(backend_of(nullptr), "fast");
  EXPECT_EQ(backend_of(&context), "fast");
  context["backend"] = "slow";
  EXPECT_EQ(backend_of(&context), "fast");
  fake.node_state.volumes.clear();
  EXPECT_EQ(backend_of(&context), "slow");
  EXPECT_EQ(backend_of(nullptr), "NOT_FOUND");
}

TEST(Driver, AnIdThatNamesNoBackendIsDeletedByNone) {
  FakeDriver fake;
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("server#share");
  EXPECT_EQ(CodeOf(Controller(fake.driver()).DeleteVolume(request, Soon())), Code::kOk);
  EXPECT_TRUE(fake.backend().seen().empty());
}

// --- volumes that were made elsewhere --------------------------------------------------------

class Foreign : public ::testing::Test {
 protected:
  Foreign() {
    for (const char* name : {"fast", "slow"}) Knows(name, {});
  }
  // The ids that a backend recognizes, or contexts whose "server" is one of these.
  void Knows(const std::string& backend, const std::set<std::string>& what) {
    fake_.backend(backend).On(
        channel::RECOGNIZE_VOLUME, [what](const BackendCall& call) -> testing::Answer {
          csi::v1::ValidateVolumeCapabilitiesRequest question;
          question.ParseFromString(call.message.request());
          const auto server = question.volume_context().find("server");
          const bool is_known =
              what.contains(call.message.handle()) ||
              (server != question.volume_context().end() && what.contains(server->second));
          if (is_known) return testing::Emits{};
          return base::Fail(Code::kNotFound, "not mine");
        });
  }
  std::string Where(const std::string& id,
                    const google::protobuf::Map<std::string, std::string>* context = nullptr) {
    const auto located = fake_.driver().LocateVolume(id, Soon(), context);
    if (!located) return base::CodeName(located.error().code);
    return located->backend->name() + " " + located->handle;
  }

  static std::vector<channel::Operation> Offered() {
    auto operations = AllOperations();
    operations.push_back(channel::RECOGNIZE_VOLUME);
    return operations;
  }
  FakeDriver fake_{{{"fast", Describe(Offered())}, {"slow", Describe(Offered())}}};
  google::protobuf::Map<std::string, std::string> context_;
};

TEST_F(Foreign, AVolumeIsOfTheBackendThatRecognizesItsId) {
  Knows("slow", {"nas#vol#pvc-1##"});
  EXPECT_EQ(Where("nas#vol#pvc-1##"), "slow nas#vol#pvc-1##");
  EXPECT_EQ(Where("nas#vol#pvc-1##", &context_), "slow nas#vol#pvc-1##");
  EXPECT_EQ(Where("fast:v1"), "fast v1");
  EXPECT_EQ(fake_.backend("fast").seen(channel::RECOGNIZE_VOLUME).size(), 2U);
}

TEST_F(Foreign, AVolumeIsOfTheBackendThatRecognizesItsAttributes) {
  Knows("slow", {"nas"});
  context_["server"] = "nas";
  EXPECT_EQ(Where("by-hand", &context_), "slow by-hand");
  context_["backend"] = "fast";
  EXPECT_EQ(Where("by-hand", &context_), "fast by-hand");
}

TEST_F(Foreign, ThatNobodyRecognizesIsTheDefaultsOrNobodys) {
  EXPECT_EQ(Where("by-hand", &context_), "fast by-hand");
  EXPECT_EQ(Where("by-hand"), "NOT_FOUND");
}

TEST_F(Foreign, ThatTwoBackendsRecognizeIsLeftAlone) {
  Knows("slow", {"x"});
  Knows("fast", {"x"});
  EXPECT_EQ(Where("x"), "FAILED_PRECONDITION");
  EXPECT_EQ(Where("x", &context_), "FAILED_PRECONDITION");
}

TEST_F(Foreign, IsNotCalledUnknownWhileSomebodyCouldNotBeAsked) {
  fake_.backend("slow").BeUnknown();
  EXPECT_EQ(Where("x"), "UNAVAILABLE");
  EXPECT_EQ(Where("x", &context_), "UNAVAILABLE");
  Knows("fast", {"x"});
  EXPECT_EQ(Where("x"), "fast x");
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id("y");
  EXPECT_EQ(CodeOf(Controller(fake_.driver()).DeleteVolume(request, Soon())), Code::kUnavailable);
}

TEST_F(Foreign, KeepsItsNameInAnAnswer) {
  Knows("slow", {"nas#vol#pvc-1##"});
  fake_.backend("slow").Answers(channel::GET_VOLUME, testing::Emits{testing::VolumeEmit("v1")});
  csi::v1::ControllerGetVolumeRequest request;
  request.set_volume_id("nas#vol#pvc-1##");
  const auto got = Controller(fake_.driver()).ControllerGetVolume(request, Soon());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->volume().volume_id(), "nas#vol#pvc-1##");
}

}  // namespace
}  // namespace gantry::core
