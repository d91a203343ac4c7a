// SPDX-License-Identifier: Apache-2.0
// The lab's promises, against a real cluster and a real client (librados).
#include "tests/lab/ceph.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rados/librados.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "host/base/file.hpp"

namespace gantry::lab {
namespace {

using ::testing::HasSubstr;

constexpr const char* kAnswerSMax = "20";

struct Shutdown {
  void operator()(void* cluster) const { rados_shutdown(cluster); }
};
using Client = std::unique_ptr<void, Shutdown>;

// Connected, or null.
Client Connect(const Ceph& cluster, const std::string& user, const std::string& key) {
  rados_t handle = nullptr;
  if (rados_create2(&handle, "ceph", ("client." + user).c_str(), 0) != 0) return nullptr;
  Client client(handle);
  for (const auto& [name, value] :
       {std::pair{"mon_host", "[v2:" + cluster.monitor() + "]"}, std::pair{"key", key},
        std::pair{"keyring", std::string("/dev/null")}, std::pair{"log_file", std::string()},
        std::pair{"log_to_stderr", std::string("false")},
        std::pair{"client_mount_timeout", std::string(kAnswerSMax)}})
    if (rados_conf_set(handle, name, value.c_str()) != 0) return nullptr;
  if (rados_connect(handle) != 0) return nullptr;
  return client;
}

// Without a time-out: librados 16 writes to where its caller was when a reply comes after one.
int AskManager(const Client& client, const std::string& command) {
  const char* words = command.c_str();
  char* out = nullptr;
  char* complaint = nullptr;
  size_t out_length = 0;
  size_t complaint_length = 0;
  const int code = rados_mgr_command(client.get(), &words, 1, "", 0, &out, &out_length, &complaint,
                                     &complaint_length);
  rados_buffer_free(out);
  rados_buffer_free(complaint);
  return std::abs(code);
}

const std::string kList = R"({"prefix":"fs subvolume ls","vol_name":"cephfs"})";

TEST(LabCeph, ServesVolumesOfItsFilesystem) {
  auto cluster = Ceph::Start();
  ASSERT_TRUE(cluster) << cluster.error().message;
  const Client client = Connect(*cluster, "admin", cluster->admin_key());
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(AskManager(client, R"({"prefix":"fs subvolume create","vol_name":"cephfs",
                                   "sub_name":"one","size":1048576})"),
            0);
  EXPECT_EQ(AskManager(client, kList), 0);
  const auto listed = cluster->Cli({"fs", "subvolume", "ls", "cephfs"});
  ASSERT_TRUE(listed) << listed.error().message;
  EXPECT_THAT(*listed, HasSubstr("one"));
}

TEST(LabCeph, MakesKeysThatMayOnlyDoWhatTheySay) {
  auto cluster = Ceph::Start();
  ASSERT_TRUE(cluster) << cluster.error().message;
  const auto key = cluster->NewKey("reader", {"mon", "allow r"});
  ASSERT_TRUE(key) << key.error().message;
  const Client client = Connect(*cluster, "reader", *key);
  ASSERT_NE(client, nullptr);
  EXPECT_NE(AskManager(client, kList), 0);
  EXPECT_EQ(Connect(*cluster, "reader", cluster->admin_key()), nullptr);
}

TEST(LabCeph, FreezesKillsAndRestartsOneDaemonAndKeepsTheRest) {
  auto cluster = Ceph::Start();
  ASSERT_TRUE(cluster) << cluster.error().message;
  const Client client = Connect(*cluster, "admin", cluster->admin_key());
  ASSERT_NE(client, nullptr);
  ASSERT_TRUE(cluster->Freeze(CephDaemon::kMgr));
  std::atomic<bool> answered = false;
  std::thread asking([&] {
    EXPECT_EQ(AskManager(client, kList), 0);
    answered = true;
  });
  EXPECT_TRUE(cluster->Cli({"mgr", "stat"}));  // The monitor answers that.
  EXPECT_FALSE(answered);
  ASSERT_TRUE(cluster->Thaw(CephDaemon::kMgr));
  asking.join();

  const pid_t mon = cluster->pid(CephDaemon::kMon);
  for (const CephDaemon daemon : {CephDaemon::kMgr, CephDaemon::kMds}) {
    ASSERT_TRUE(cluster->Kill(daemon));
    EXPECT_EQ(cluster->pid(daemon), 0);
    const auto again = cluster->Restart(daemon);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_NE(cluster->pid(daemon), 0);
  }
  EXPECT_EQ(cluster->pid(CephDaemon::kMon), mon);
}

TEST(LabCeph, LeavesNothingRunningBehind) {
  pid_t pids[4] = {};
  {
    auto cluster = Ceph::Start();
    ASSERT_TRUE(cluster) << cluster.error().message;
    int i = 0;
    for (const CephDaemon daemon :
         {CephDaemon::kMon, CephDaemon::kMgr, CephDaemon::kOsd, CephDaemon::kMds})
      pids[i++] = cluster->pid(daemon);
  }
  for (const pid_t pid : pids) {
    ASSERT_NE(pid, 0);
    const auto stat = base::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
    EXPECT_TRUE(!stat || stat->find(") Z ") != std::string::npos) << pid;
  }
}

}  // namespace
}  // namespace gantry::lab
