// SPDX-License-Identifier: Apache-2.0
// What is done about a userspace disk that cannot be taken down in order.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "host/block/testing.hpp"
#include "host/services/broker.hpp"
#include "host/services/device_origin.hpp"
#include "host/services/mount_namespace.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using block::Soon;

void ExpectOk(const base::Status& status) {
  EXPECT_TRUE(status) << base::CodeName(status.error().code) << " " << status.error().message;
}

class DiskReleaseTest : public ::testing::Test {
 protected:
  DiskReleaseTest()
      : disks_(kubelet_.outside() / "state/disks"),
        helpers_(HelperBinary(), kubelet_.directory().fd()),
        broker_({config_, kubelet_.directory(), helpers_, data_paths_,
                 [](const std::string&) { return fs::path("/store/disk.so"); }}) {
    config_.backends["fast"].name = "fast";
    config_.state_directory = kubelet_.outside() / "state";
    fs::create_directories(disks_);
    device_.origin = kDiskOrigin;
    device_.size_bytes = 512 * block::kMiB;
    directory_ = base::UniqueFd(open(disks_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  HelperReply Ask(HelperOperation operation) {
    HelperRequest request;
    request.operation = operation;
    request.fd = directory_.get();
    request.source = request.device.volume = "v1";
    auto reply = helpers_.Run(request, Soon());
    if (!reply) throw std::runtime_error(reply.error().message);
    return std::move(*reply);
  }

  TestKubelet kubelet_;
  const fs::path disks_;
  core::Config config_;
  TestDataPaths data_paths_;
  HelperRunner helpers_;
  MountBroker broker_;
  core::NodeDevice device_;
  base::UniqueFd directory_;
};

TEST_F(DiskReleaseTest, WhatWaitsForADiskThatIsGivenUpEndsAlthoughItIsInUse) {
  const HelperReply mounted = Ask(HelperOperation::kMountDisk);
  ExpectOk(mounted.ToStatus());
  const base::UniqueFd user(open((disks_ / "v1").c_str(), O_PATH | O_CLOEXEC));
  ExpectOk(Ask(HelperOperation::kAbortDisk).ToStatus());
  pollfd connection{mounted.fd.get(), POLLIN, 0};
  ASSERT_EQ(poll(&connection, 1, 0), 1);
  ASSERT_NE(connection.revents & POLLERR, 0) << "the connection lives";
  EXPECT_NE(faccessat(user.get(), "disk", F_OK, 0), 0);
}

TEST_F(DiskReleaseTest, ADataPathThatCannotBeEndedIsEndedOnceItsDiskIsGivenUp) {
  int stops = 0;
  data_paths_.on_stop = [&] { ++stops; };
  data_paths_.stop_error =
      base::Error{base::Code::kDeadlineExceeded, "its process cannot be killed"};
  ExpectOk(
      broker_.Unstage("fast:v1", kubelet_.Path("plugins/csi/v1/globalmount"), device_, Soon()));
  EXPECT_EQ(stops, 2);
}

}  // namespace
}  // namespace gantry::services
