// SPDX-License-Identifier: Apache-2.0
// A node with a block backend: a real gantryd, the filedisk plugin, and one volume, called like kubelet
// does.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "host/base/file.hpp"
#include "host/block/content.hpp"
#include "host/block/testing.hpp"
#include "tests/integration/volume_fixture.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {

namespace fs = std::filesystem;
using block::kMiB;
using block::TestDisk;
using Mode = csi::v1::VolumeCapability::AccessMode;

constexpr std::chrono::seconds kCallMax{60};
constexpr uint64_t kDiskBytes = 512 * kMiB;
constexpr uint64_t kPagesBytes = 64 * kMiB;
constexpr const char* kVolume = "disks:v1";

inline std::string Text(const grpc::Status& status) {
  return std::to_string(status.error_code()) + " " + status.error_message();
}
#define ASSERT_GRPC_OK(expression)            \
  do {                                        \
    const grpc::Status grpc_s = (expression); \
    ASSERT_TRUE(grpc_s.ok()) << Text(grpc_s); \
  } while (false)

class BlockNode : public ::testing::Test {
 protected:
  explicit BlockNode(const std::string& more_grants = "") : disk_(kDiskBytes) {
    lab::GantrydOptions options;
    options.backends =
        "  disks:\n    plugin: filedisk\n    owner: test\n    uid: 61007\n"
        "    grants:\n      block:\n        disks: true\n        raw: true\n"
        "        fs_types: [ext4, xfs, btrfs]\n        loop_directories: [" +
        disk_.file().parent_path().string() +
        "]\n        mkfs_options: [[\"-E\", \"lazy_itable_init=0\"], [\"-i\", "
        "\"{number}\"]]\n" +
        more_grants;
    options.driver_backends = "[disks]";
    auto host = lab::Gantryd::Start(options);
    if (!host) throw std::runtime_error(host.error().message);
    host_ = std::move(*host);
    staging_ = (host_->kubelet() / "plugins/v1/globalmount").string();
    target_ = (host_->kubelet() / "pods/p1/volume").string();
    fs::create_directories(staging_);
    fs::create_directories(fs::path(target_).parent_path());
    Connect();
    context_ = {{"file", disk_.file()},
                {"paths", disk_.path()},
                {"size", std::to_string(kDiskBytes)},
                {"may_format", "1"}};
  }
  ~BlockNode() override {
    for (const auto& at : {target_, staging_})
      while (umount2(at.c_str(), MNT_DETACH) == 0) continue;
    (void)Unstage();
    std::ifstream lock(host_->directory() / "state/keeper.sock.lock");
    pid_t keeper = 0;
    lock >> keeper;
    host_.reset();
    if (keeper > 1) kill(keeper, SIGKILL);  // its children end with it
  }

  void Connect() { node_ = csi::v1::Node::NewStub(host_->Connect()); }

  csi::v1::VolumeCapability Capability() const {
    csi::v1::VolumeCapability capability;
    if (raw_) {
      capability.mutable_block();
    } else {
      capability.mutable_mount()->set_fs_type(fs_type_);
    }
    capability.mutable_access_mode()->set_mode(mode_);
    return capability;
  }
  grpc::Status Stage(std::chrono::milliseconds within = kCallMax) {
    csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_staging_target_path(staging_);
    *request.mutable_volume_capability() = Capability();
    request.mutable_volume_context()->insert(context_.begin(), context_.end());
    csi::v1::NodeStageVolumeResponse response;
    const auto context = lab::Within(within);
    context->set_wait_for_ready(true);
    return node_->NodeStageVolume(context.get(), request, &response);
  }
  grpc::Status Publish(bool readonly = false) {
    csi::v1::NodePublishVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_staging_target_path(staging_);
    request.set_target_path(target_);
    request.set_readonly(readonly);
    *request.mutable_volume_capability() = Capability();
    request.mutable_volume_context()->insert(context_.begin(), context_.end());
    csi::v1::NodePublishVolumeResponse response;
    return node_->NodePublishVolume(lab::Within(kCallMax).get(), request, &response);
  }
  grpc::Status Unpublish() {
    csi::v1::NodeUnpublishVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_target_path(target_);
    csi::v1::NodeUnpublishVolumeResponse response;
    return node_->NodeUnpublishVolume(lab::Within(kCallMax).get(), request, &response);
  }
  grpc::Status Unstage() {
    csi::v1::NodeUnstageVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_staging_target_path(staging_);
    csi::v1::NodeUnstageVolumeResponse response;
    const auto context = lab::Within(kCallMax);
    context->set_wait_for_ready(true);
    return node_->NodeUnstageVolume(context.get(), request, &response);
  }
  grpc::Status Expand(uint64_t required, int64_t* bytes) {
    csi::v1::NodeExpandVolumeRequest request;
    request.set_volume_id(kVolume);
    request.set_volume_path(target_);
    request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(required));
    csi::v1::NodeExpandVolumeResponse response;
    auto status = node_->NodeExpandVolume(lab::Within(kCallMax).get(), request, &response);
    *bytes = response.capacity_bytes();
    return status;
  }
  csi::v1::NodeGetVolumeStatsResponse Stats() {
    csi::v1::NodeGetVolumeStatsRequest request;
    request.set_volume_id(kVolume);
    request.set_volume_path(target_);
    csi::v1::NodeGetVolumeStatsResponse response;
    const auto status = node_->NodeGetVolumeStats(lab::Within(kCallMax).get(), request, &response);
    EXPECT_TRUE(status.ok()) << Text(status);
    return response;
  }
  block::Content Content() const { return block::Examine(disk_.Open().get()).value(); }
  std::string Record() const {
    std::string all;
    for (const auto& entry : fs::recursive_directory_iterator(host_->directory() / "state"))
      if (entry.is_regular_file() && entry.path().extension() == ".json")
        if (const auto text = base::ReadFile(entry.path(), 1U << 20)) all += *text;
    return all;
  }
  // A program that gantryd's helpers run, by its name; 0: none.
  static pid_t Running(const std::string& name, const std::string& argument) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const auto words = base::ReadFile(entry.path() / "cmdline", 4096);
      if (!words || !words->starts_with(name) || words->find(argument) == std::string::npos)
        continue;
      return static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    }
    return 0;
  }

  TestDisk disk_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<csi::v1::Node::Stub> node_;
  std::string staging_;
  std::string target_;
  std::map<std::string, std::string> context_;
  std::string fs_type_ = "xfs";
  Mode::Mode mode_ = Mode::SINGLE_NODE_WRITER;
  bool raw_ = false;
};

class DiskNode : public BlockNode {
 protected:
  DiskNode() {
    fs_type_ = "ext4";  // xfs wants a larger one
    context_ = {{"pages", std::to_string(kPagesBytes)},
                {"disk_identity", "naa.6001405aabbccdd"},
                {"size", std::to_string(kPagesBytes)},
                {"may_format", "1"}};
  }
  // Loop devices that the host has made.
  size_t Loops() {
    const std::string place = (host_->directory() / "state/disks/").string();
    return block::FindLoops({"",
                             [&](const std::string& file) {
                               return file.starts_with(place) ? block::LoopSearch::Match::kYes
                                                              : block::LoopSearch::Match::kNo;
                             }})
        ->size();
  }
};

}  // namespace gantry::tests
