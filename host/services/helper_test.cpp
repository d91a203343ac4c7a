// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <thread>

#include "host/services/mount_namespace.hpp"
#include "host/services/mounts.hpp"

namespace gantry::services {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

base::TimePoint In(milliseconds time) { return std::chrono::steady_clock::now() + time; }

class HelperTest : public ::testing::Test {
 protected:
  HelperTest() : helpers_(HelperBinary(), kubelet_.directory().fd()) {}

  static HelperRequest Request(HelperOperation operation, const std::string& path) {
    HelperRequest request;
    request.operation = operation;
    request.path = path;
    return request;
  }

  base::UniqueFd MountFuse(const std::string& path) {
    HelperRequest request = Request(HelperOperation::kMountFuse, path);
    request.source = "volume";
    auto reply = helpers_.Run(request, In(milliseconds(20000)));
    if (!reply) throw std::runtime_error(reply.error().message);
    if (!reply->fd) throw std::runtime_error(reply->message);
    return std::move(reply->fd);
  }

  TestKubelet kubelet_;
  HelperRunner helpers_;
};

TEST_F(HelperTest, ProbesAFilesystem) {
  std::filesystem::create_directory(kubelet_.Path("plain"));
  const auto reply =
      helpers_.Run(Request(HelperOperation::kProbe, "plain"), In(milliseconds(20000)));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->error_number, 0) << reply->message;
  EXPECT_GT(reply->blocks, 0U);
  EXPECT_FALSE(reply->mount_root);
}

TEST_F(HelperTest, GivesBackAFuseFdWhoseInitIsAnswered) {
  const base::UniqueFd fd = MountFuse("fuse");
  EXPECT_TRUE(fd);
  const auto mounts = ReadMountInfo();
  ASSERT_TRUE(mounts);
  const auto at = MountsAt(*mounts, kubelet_.directory().MountPoint("fuse"));
  ASSERT_EQ(at.size(), 1U);
  EXPECT_EQ(at[0].fs_type, "fuse.gantry");
  EXPECT_EQ(at[0].source, "volume");
}

TEST_F(HelperTest, HasTheKernelReadFarAheadInAFuseMount) {
  const base::UniqueFd fd = MountFuse("fuse");
  struct statx status {};
  ASSERT_EQ(statx(AT_FDCWD, kubelet_.Path("fuse").c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &status),
            0);
  std::ifstream file("/sys/class/bdi/" + std::to_string(status.stx_dev_major) + ":" +
                     std::to_string(status.stx_dev_minor) + "/read_ahead_kb");
  int kib = 0;
  file >> kib;
  EXPECT_EQ(kib, 4096);
}

TEST_F(HelperTest, IsKilledAtTheDeadlineWhenItsRequestWasNotTakenYet) {
  TestFuseServer server(MountFuse("fuse"));
  server.Set(TestFuseServer::Mode::kIgnore);
  const auto begin = std::chrono::steady_clock::now();
  const auto reply = helpers_.Run(Request(HelperOperation::kProbe, "fuse"), In(milliseconds(700)));
  const auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, base::Code::kDeadlineExceeded);
  EXPECT_THAT(reply.error().message, HasSubstr("killed by SIGKILL"));
  EXPECT_LT(took, milliseconds(700) + kReapMsMax + milliseconds(1000));
  EXPECT_TRUE(helpers_.Stuck().empty());
}

TEST_F(HelperTest, OneThatCannotBeKilledIsLeftListedAndReapedWhenItDies) {
  auto server = std::make_unique<TestFuseServer>(MountFuse("fuse"));
  server->Set(TestFuseServer::Mode::kSwallow);
  const auto reply = helpers_.Run(Request(HelperOperation::kProbe, "fuse"), In(milliseconds(700)));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, base::Code::kDeadlineExceeded);
  EXPECT_THAT(reply.error().message, HasSubstr("cannot be killed"));
  EXPECT_GE(server->swallowed(), 1);
  const auto stuck = helpers_.Stuck();
  ASSERT_EQ(stuck.size(), 1U);
  EXPECT_EQ(stuck[0].operation, "statfs");
  EXPECT_EQ(stuck[0].path, "fuse");
  EXPECT_EQ(helpers_.abandoned(), 1U);

  const auto begin = std::chrono::steady_clock::now();
  const auto again =
      helpers_.Run(Request(HelperOperation::kProbe, "fuse"), In(milliseconds(20000)));
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("is stuck in the kernel"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(1000));

  server.reset();  // closes the connection, which lets the kernel go
  EXPECT_TRUE(WaitForEnd(stuck[0].pid));
  EXPECT_TRUE(helpers_.Stuck().empty());
  EXPECT_EQ(helpers_.abandoned(), 1U);
}

TEST_F(HelperTest, ManyAtOnceAllGetTheirAnswer) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 40; ++i)
    threads.emplace_back([&] {
      std::filesystem::create_directory(kubelet_.Path("d"));
      const auto reply =
          helpers_.Run(Request(HelperOperation::kProbe, "d"), In(milliseconds(60000)));
      if (reply && reply->error_number == 0) ++good;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 40);
}

TEST_F(HelperTest, SaysWhatTheKernelSaysAboutABadOptionAndHidesItsValue) {
  HelperRequest request = Request(HelperOperation::kMountFilesystem, "t");
  request.fs_type = "tmpfs";
  request.source = "t";
  request.options = {"sizzle=hunter2"};
  const auto reply = helpers_.Run(request, In(milliseconds(20000)));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->error_number, EINVAL);
  EXPECT_THAT(reply->message, HasSubstr("option sizzle of tmpfs"));
  EXPECT_THAT(reply->message, ::testing::Not(HasSubstr("hunter2")));
}

TEST_F(HelperTest, RefusesToFollowASymlinkAtTheEndOrOnTheWay) {
  std::filesystem::create_directory(kubelet_.outside() / "victim");
  std::filesystem::create_symlink(kubelet_.outside() / "victim", kubelet_.Path("link"));
  std::filesystem::create_directory(kubelet_.Path("real"));
  std::filesystem::create_symlink("real", kubelet_.Path("inner"));
  for (const auto operation : {HelperOperation::kMountFuse, HelperOperation::kProbe})
    for (const char* path : {"link", "link/x", "inner", "inner/x"}) {
      const auto reply = helpers_.Run(Request(operation, path), In(milliseconds(20000)));
      ASSERT_TRUE(reply) << reply.error().message;
      EXPECT_NE(reply->error_number, 0) << path;
    }
  EXPECT_TRUE(std::filesystem::is_empty(kubelet_.outside() / "victim"));
  EXPECT_TRUE(std::filesystem::is_empty(kubelet_.Path("real")));
}

TEST_F(HelperTest, ARequestThatIsTooLargeIsRefused) {
  HelperRequest request = Request(HelperOperation::kMountFilesystem, "t");
  request.options = {std::string(kHelperMessageBytesMax, 'x')};
  const auto reply = helpers_.Run(request, In(milliseconds(20000)));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, base::Code::kInvalidArgument);
}

TEST_F(HelperTest, WhatHangsForOneDomainLeavesHelpersForTheOthers) {
  TestFuseServer server(MountFuse("fuse"));
  server.Set(TestFuseServer::Mode::kIgnore);
  std::vector<std::thread> hanging;
  for (size_t i = 0; i < kHelpersOfDomainMax; ++i)
    hanging.emplace_back([&] {
      HelperRequest request = Request(HelperOperation::kProbe, "fuse");
      request.domain = "dead";
      EXPECT_FALSE(helpers_.Run(request, In(milliseconds(20000))));
    });
  const auto is_full = [&] {
    HelperRequest request = Request(HelperOperation::kKnows, "");
    request.fs_type = "tmpfs";
    request.domain = "dead";
    const auto reply = helpers_.Run(request, In(milliseconds(200)));
    return !reply && reply.error().code == base::Code::kUnavailable;
  };
  while (!is_full()) std::this_thread::yield();
  std::filesystem::create_directory(kubelet_.Path("d"));
  for (size_t i = 0; i < kHelpersMax; ++i) {
    HelperRequest request = Request(HelperOperation::kProbe, "d");
    request.domain = "alive";
    EXPECT_TRUE(helpers_.Run(request, In(milliseconds(20000))));
  }
  for (auto& thread : hanging) thread.join();
  EXPECT_FALSE(is_full());
}

TEST_F(HelperTest, SaysWhichFilesystemsTheKernelHas) {
  HelperRequest request = Request(HelperOperation::kKnows, "");
  request.fs_type = "tmpfs";
  EXPECT_EQ(helpers_.Run(request, In(milliseconds(20000)))->error_number, 0);
  request.fs_type = "gantry-none";
  EXPECT_EQ(helpers_.Run(request, In(milliseconds(20000)))->error_number, ENODEV);
}

TEST_F(HelperTest, FlushesAFilesystem) {
  std::filesystem::create_directory(kubelet_.Path("d"));
  const auto reply = helpers_.Run(Request(HelperOperation::kFlush, "d"), In(milliseconds(20000)));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->error_number, 0) << reply->message;
}

}  // namespace
}  // namespace gantry::services
