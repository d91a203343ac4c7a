// SPDX-License-Identifier: Apache-2.0
// LUNs that somebody else has made, on a real tgtd: PersistentVolumes with the attributes of
// csi-driver-iscsi, from the attach to the detach, and whatever must not happen to them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>

#include "tests/integration/iscsi_lab.hpp"
#include "tests/integration/iscsi_load.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Mode = csi::v1::VolumeCapability::AccessMode;
using Rpc = csi::v1::ControllerServiceCapability::RPC;
using namespace std::chrono_literals;

constexpr const char* kIqn = "iqn.2001-05.com.array:pool";
constexpr const char* kOtherId = "c0ffee00000000ff";

class IscsiStatic : public ::testing::Test {
 protected:
  explicit IscsiStatic(std::vector<std::string> addresses = {"127.0.0.1"}) {
    auto array = lab::Tgt::Start({.addresses = std::move(addresses)});
    if (!array) throw std::runtime_error(array.error().message);
    array_.emplace(*std::move(array));
    Must(array_->NewTarget(1, kIqn));
    Must(array_->NewLun(lun_));
    Must(array_->Allow(1, "ALL"));
  }
  void TearDown() override {
    if (node_) {
      EXPECT_THAT(node_->Left(), IsEmpty());
    }
  }
  static void Must(const base::Status& status) {
    if (!status) throw std::runtime_error(status.error().message);
  }
  static IscsiBackend Static(const std::string& target = "{}", const std::string& config = "") {
    IscsiBackend backend;
    backend.name = "luns";
    backend.target = "{static: " + target + "}";
    backend.config = config;
    backend.uid = kIscsiUid + 1;
    return backend;
  }
  IscsiNode& Start(const std::string& target = "{}") {
    node_.emplace(std::vector{Static(target)}, "node-a");
    return *node_;
  }
  // As an administrator writes it, with a handle of any kind.
  LunVolume Theirs(const std::string& fs_type = "ext4") const {
    LunVolume volume = Named("theirs", fs_type);
    volume.id = "array/pool: LUN 1";
    volume.context = {{"targetPortal", array_->portal()}, {"iqn", kIqn}, {"lun", "1"}};
    return volume;
  }
  // Another LUN under the same number.
  void Swap(uint64_t bytes) {
    Must(array_->DeleteLun(1, 1));
    other_.id = kOtherId;
    other_.file = "other.img";
    other_.size_bytes = bytes;
    Must(array_->NewLun(other_));
  }
  void SwapBack() {
    Must(array_->DeleteLun(1, 1));
    Must(array_->NewLun(lun_));
  }
  bool IsUntouched(const lab::TgtLun& lun) const {
    const std::string bytes = ReadAll(array_->file(lun));
    return bytes.find_first_not_of('\0') == std::string::npos;
  }
  void ExpectRefused(const grpc::Status& status, StatusCode code, const std::string& text) {
    EXPECT_EQ(status.error_code(), code) << Say(status);
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  }

  const lab::TgtLun lun_{.size_bytes = kIscsiVolumeBytes};
  lab::TgtLun other_;
  std::optional<lab::Tgt> array_;
  std::optional<IscsiNode> node_;
};

TEST_F(IscsiStatic, ALunIsFormattedOnceAndItsDataStays) {
  IscsiNode& node = Start();
  LunVolume volume = Theirs();
  // The first portal is dead.
  volume.context["targetPortal"] = "127.0.0.1:1";
  volume.context["portals"] = "[\"" + array_->portal() + "\"]";
  volume.context["iscsiInterface"] = "default";
  ASSERT_DONE(node.Attach(volume, "node-a"));
  EXPECT_THAT(volume.publish_context, IsEmpty());
  ASSERT_DONE(node.Stage(volume));
  ASSERT_DONE(node.Publish(volume));
  const std::string content = Pattern(3 << 20, 1);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", content), 0);
  ASSERT_DONE(node.Down(volume));
  EXPECT_THAT(*array_->Sessions(1), IsEmpty());

  ASSERT_DONE(node.Up(volume));
  EXPECT_TRUE(ReadAll(node.Target(volume) / "file") == content);
  ASSERT_DONE(node.Down(volume));
}

TEST_F(IscsiStatic, ALunIsNeitherMadeNorListedNorDeleted) {
  IscsiNode& node = Start();
  LunVolume volume = Theirs();
  volume.block = true;
  ASSERT_DONE(node.Up(volume));
  const std::string content = Pattern(1 << 20, 2);
  ASSERT_EQ(WriteSynced(node.Target(volume), content), 0);
  ASSERT_DONE(node.Down(volume));
  ExpectRefused(node.Delete(volume), StatusCode::FAILED_PRECONDITION, "somebody else");
  EXPECT_TRUE(ReadAll(array_->file(lun_)).starts_with(content));
  LunVolume made = Named("made");
  ExpectRefused(node.Create(made), StatusCode::UNIMPLEMENTED, "CREATE_VOLUME");
  EXPECT_THAT(node.Capabilities(),
              ::testing::ElementsAre(Rpc::PUBLISH_UNPUBLISH_VOLUME, Rpc::SINGLE_NODE_MULTI_WRITER));
}

TEST_F(IscsiStatic, AnotherLunUnderTheNodesRecordIsRefused) {
  IscsiNode& node = Start();
  const LunVolume volume = Theirs();
  ASSERT_DONE(node.Stage(volume));
  ASSERT_DONE(node.Publish(volume));
  const std::string content = Pattern(1 << 20, 3);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", content), 0);
  ASSERT_DONE(node.Unpublish(volume));
  ASSERT_EQ(umount2(node.Staging(volume).c_str(), 0), 0);
  Swap(kIscsiVolumeBytes);
  ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, kOtherId);
  EXPECT_TRUE(IsUntouched(other_));
  SwapBack();
  ASSERT_DONE(node.Stage(volume));
  ASSERT_DONE(node.Publish(volume));
  EXPECT_TRUE(ReadAll(node.Target(volume) / "file") == content);
  ASSERT_DONE(node.Unpublish(volume));
  ASSERT_DONE(node.Unstage(volume));
}

// A smaller one is another one, whatever it calls itself.
TEST_F(IscsiStatic, ASmallerLunUnderTheNodesRecordIsRefused) {
  IscsiNode& node = Start();
  const LunVolume volume = Theirs();
  ASSERT_DONE(node.Stage(volume));
  ASSERT_EQ(umount2(node.Staging(volume).c_str(), 0), 0);
  Must(array_->DeleteLun(1, 1));
  lab::TgtLun smaller = lun_;
  smaller.size_bytes /= 2;
  smaller.file = "smaller.img";
  Must(array_->NewLun(smaller));
  EXPECT_FALSE(node.Stage(volume).ok());
  EXPECT_TRUE(IsUntouched(smaller));
  ASSERT_DONE(node.Unstage(volume));
}

TEST_F(IscsiStatic, AnIdentityThatTheVolumeNamesHoldsFromAttachToAttach) {
  IscsiNode& node = Start();
  LunVolume volume = Theirs();
  volume.context["identity"] = "naa.6000000000000000c0ffee0000000001";
  ASSERT_DONE(node.Up(volume));
  ASSERT_DONE(node.Down(volume));
  Swap(kIscsiVolumeBytes);
  ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, kOtherId);
  EXPECT_TRUE(IsUntouched(other_));
  ASSERT_DONE(node.Unstage(volume));
}

TEST_F(IscsiStatic, ALunThatIsNotBlankIsNotFormatted) {
  IscsiNode& node = Start();
  const fs::path file = array_->file(lun_);
  const auto write_at = [&](off_t at, const std::string& text) {
    const int fd = open(file.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(pwrite(fd, text.data(), text.size(), at), static_cast<ssize_t>(text.size()));
    close(fd);
  };
  for (const off_t at : {off_t{8192}, static_cast<off_t>(kIscsiVolumeBytes) - 4096}) {
    write_at(at, "somebody's");
    const std::string before = ReadAll(file);
    const LunVolume volume = Theirs();
    ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, "expected nothing");
    EXPECT_TRUE(ReadAll(file) == before);
    ASSERT_DONE(node.Unstage(volume));
    write_at(at, std::string(10, '\0'));
  }
}

TEST_F(IscsiStatic, WhereTheBackendFormatsNothingABlankLunStaysBlank) {
  IscsiNode& node = Start("{format: never}");
  const LunVolume volume = Theirs();
  ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, "does not say that it is new");
  EXPECT_TRUE(IsUntouched(lun_));
  ASSERT_DONE(node.Unstage(volume));
}

TEST_F(IscsiStatic, SessionsAndDiscoveryLogInWithTheSecretsOfTheField) {
  Must(array_->NewAccount("pod", "secret-of-the-pod"));
  Must(array_->BindAccount(1, "pod"));
  Must(array_->NewAccount("the-target", "secret-of-the-array"));
  Must(array_->BindAccount(1, "the-target", true));
  Must(array_->NewAccount("finder", "secret-of-finder"));
  Must(array_->BindDiscoveryAccount("finder"));
  IscsiNode& node = Start();
  LunVolume volume = Theirs();
  volume.context["sessionCHAPAuth"] = "true";
  ExpectRefused(node.Stage(volume), StatusCode::INVALID_ARGUMENT, "node.session.auth.username");
  node.secrets = {{"node.session.auth.username", "pod"},
                  {"node.session.auth.password", "wrong-one"}};
  ExpectRefused(node.Stage(volume), StatusCode::UNAUTHENTICATED, "portal");
  node.secrets["node.session.auth.password"] = "secret-of-the-pod";
  ASSERT_DONE(node.Stage(volume));
  ASSERT_DONE(node.Unstage(volume));

  node.secrets["node.session.auth.username_in"] = "the-target";
  ExpectRefused(node.Stage(volume), StatusCode::INVALID_ARGUMENT, "node.session.auth.password_in");
  node.secrets["node.session.auth.password_in"] = "not-the-arrays";
  ExpectRefused(node.Stage(volume), StatusCode::UNAUTHENTICATED, "portal");
  node.secrets["node.session.auth.password_in"] = "secret-of-the-array";
  ASSERT_DONE(node.Stage(volume));
  ASSERT_DONE(node.Unstage(volume));

  volume.context["discoveryCHAPAuth"] = "true";
  ExpectRefused(node.Stage(volume), StatusCode::INVALID_ARGUMENT,
                "discovery.sendtargets.auth.username");
  node.secrets["discovery.sendtargets.auth.username"] = "finder";
  node.secrets["discovery.sendtargets.auth.password"] = "wrong-one";
  ExpectRefused(node.Stage(volume), StatusCode::UNAUTHENTICATED, "portal");
  node.secrets["discovery.sendtargets.auth.password"] = "secret-of-finder";
  ASSERT_DONE(node.Up(volume));
  ASSERT_DONE(node.Down(volume));
  volume.context["iqn"] = "iqn.2001-05.com.array:none";
  ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, kIqn);
  ASSERT_DONE(node.Unstage(volume));
  for (const char* secret : {"secret-of-the-pod", "secret-of-the-array", "secret-of-finder"})
    EXPECT_THAT(node.host().Log(), ::testing::Not(HasSubstr(secret)));
}

TEST_F(IscsiStatic, WhatIsWrongIsNamedBeforeAnythingIsDone) {
  IscsiNode& node = Start("{portals: [\"127.0.0.1:*\"]}");
  for (const auto& [key, value, text] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"lun", "one", "volume_context[\"lun\"] is \"one\""},
           {"portals", "10.9.9.9", "a portal that the backend serves"},
           {"chap", "x", "unknown key \"chap\""}}) {
    LunVolume volume = Theirs();
    volume.context[key] = value;
    volume.context["backend"] = "luns";
    ExpectRefused(node.Attach(volume, "node-a"), StatusCode::INVALID_ARGUMENT, text);
    ExpectRefused(node.Stage(volume), StatusCode::INVALID_ARGUMENT, text);
    ASSERT_DONE(node.Unstage(volume));
  }
  LunVolume volume = Theirs();
  volume.context["lun"] = "7";
  ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, "LUN 7");
  volume.context["lun"] = "0";
  ExpectRefused(node.Stage(volume), StatusCode::FAILED_PRECONDITION, "expected a disk");
  ASSERT_DONE(node.Unstage(volume));
  ASSERT_DONE(node.Detach(volume, "node-a"));
}

TEST_F(IscsiStatic, TheNextNodesReservationEndsTheWritesOfTheLast) {
  IscsiNode& lost = Start();
  IscsiNode next({Static()}, "node-b");
  LunVolume volume = Theirs();
  volume.block = true;
  volume.context["ioTimeoutSeconds"] = "3";
  ASSERT_DONE(lost.Up(volume));
  ASSERT_EQ(WriteSynced(lost.Target(volume), std::string(4096, 'o')), 0);
  ASSERT_DONE(lost.Detach(volume, "node-a"));  // says nothing, and ends nothing
  ASSERT_EQ(WriteSynced(lost.Target(volume), std::string(4096, 'p')), 0);
  ASSERT_DONE(next.Up(volume));
  ASSERT_EQ(WriteSynced(next.Target(volume), std::string(4096, 'n')), 0);
  EXPECT_NE(WriteSynced(lost.Target(volume), std::string(4096, 'q')), 0);
  EXPECT_EQ(ReadDirect(next.Target(volume), 4096), std::string(4096, 'n'));
  ASSERT_DONE(lost.Down(volume));
  ASSERT_DONE(next.Down(volume));
  EXPECT_THAT(next.Left(), IsEmpty());
}

TEST_F(IscsiStatic, NodesThatShareARawLunKeepNobodyOut) {
  IscsiNode& one = Start();
  IscsiNode other({Static()}, "node-b");
  LunVolume volume = Theirs();
  volume.block = true;
  volume.mode = Mode::MULTI_NODE_MULTI_WRITER;
  ASSERT_DONE(one.Up(volume));
  ASSERT_DONE(other.Up(volume));
  for (IscsiNode* node : {&one, &other, &one})
    EXPECT_EQ(WriteSynced(node->Target(volume), std::string(4096, 's')), 0);
  ASSERT_DONE(other.Down(volume));
  ASSERT_DONE(one.Down(volume));
  EXPECT_THAT(other.Left(), IsEmpty());
}

TEST_F(IscsiStatic, ALunThatSomebodyHasGrownIsGrownOnTheNode) {
  IscsiNode& node = Start();
  LunVolume volume = Theirs("xfs");
  Must(array_->DeleteLun(1, 1));
  lab::TgtLun lun = lun_;
  lun.size_bytes = uint64_t{512} << 20;
  lun.file = "grows.img";
  Must(array_->NewLun(lun));
  ASSERT_DONE(node.Up(volume));
  lun.size_bytes *= 2;
  volume.bytes = lun.size_bytes;
  EXPECT_EQ(node.ExpandNode(volume).error_code(), StatusCode::UNAVAILABLE);
  Must(array_->ResizeLun(lun));
  ASSERT_DONE(node.ExpandNode(volume));
  EXPECT_GT(fs::space(node.Target(volume)).capacity, lun.size_bytes * 3 / 4);
  ASSERT_DONE(node.Down(volume));
}

class IscsiStaticOverIpv6 : public IscsiStatic {
 protected:
  IscsiStaticOverIpv6() : IscsiStatic({"[::1]"}) {}
};

TEST_F(IscsiStaticOverIpv6, FindsItsTargetAndServesTheLun) {
  Must(array_->NewAccount("finder", "secret-of-finder"));
  Must(array_->BindDiscoveryAccount("finder"));
  IscsiNode& node = Start(R"({portals: ["[::1]:*"]})");
  LunVolume volume = Theirs();
  volume.context["discoveryCHAPAuth"] = "true";
  node.secrets["discovery.sendtargets.auth.username"] = "finder";
  node.secrets["discovery.sendtargets.auth.password"] = "secret-of-finder";
  ASSERT_DONE(node.Up(volume));
  const std::string content = Pattern(kMiB, 6);
  ASSERT_EQ(WriteSynced(node.Target(volume) / "file", content), 0);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Up(volume));
  EXPECT_TRUE(ReadAll(node.Target(volume) / "file") == content);
  ASSERT_DONE(node.Down(volume));
  volume.context["targetPortal"] = "[::2]:3260";
  ExpectRefused(node.Attach(volume, "node-a"), StatusCode::INVALID_ARGUMENT,
                "a portal that the backend serves");
}

// One driver for both: each volume goes where it belongs.
TEST_F(IscsiStatic, BesideABackendThatMakesVolumes) {
  const IscsiTarget target;
  node_.emplace(std::vector{LocalBackend(target), Static()}, "node-a");
  IscsiNode& node = *node_;
  LunVolume made = Named("made");
  ASSERT_DONE(node.Create(made));
  LunVolume theirs = Theirs();
  ASSERT_DONE(node.Up(made));
  ASSERT_DONE(node.Up(theirs));
  csi::v1::ListVolumesResponse list;
  ASSERT_DONE(node.List(&list));
  EXPECT_EQ(list.entries_size(), 1);
  EXPECT_EQ(node.Capabilities().count(Rpc::LIST_VOLUMES_PUBLISHED_NODES), 0U);
  LunVolume wrong = Named("wrong");
  wrong.parameters["backend"] = "luns";
  ExpectRefused(node.Create(wrong), StatusCode::INVALID_ARGUMENT, "does not offer CREATE_VOLUME");
  ASSERT_DONE(node.Down(theirs));
  ASSERT_DONE(node.Down(made));
  ASSERT_DONE(node.Delete(made));
}

}  // namespace
}  // namespace gantry::tests
