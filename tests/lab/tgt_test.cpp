// SPDX-License-Identifier: Apache-2.0
// The lab's promises, against real servers and a real client (libiscsi).
#include "tests/lab/tgt.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::lab {
namespace {

constexpr int kCallSMax = 3;
constexpr int kFrozenCallS = 1;
constexpr std::chrono::milliseconds kSoonMs{10000};
constexpr const char* kTarget = "iqn.2026-01.test.gantry:one";

struct ContextClose {
  void operator()(iscsi_context* context) const { iscsi_destroy_context(context); }
};
using Context = std::unique_ptr<iscsi_context, ContextClose>;

// A context that is logged in to LUN 1, or null and why in `error`.
Context Login(const std::string& portal, std::string* error, int call_s_max = kCallSMax,
              const char* user = nullptr, const char* password = nullptr) {
  Context context(iscsi_create_context("iqn.2026-01.test.gantry:initiator"));
  iscsi_set_targetname(context.get(), kTarget);
  iscsi_set_session_type(context.get(), ISCSI_SESSION_NORMAL);
  iscsi_set_noautoreconnect(context.get(), 1);
  iscsi_set_timeout(context.get(), call_s_max);
  if (user != nullptr) iscsi_set_initiator_username_pwd(context.get(), user, password);
  if (iscsi_full_connect_sync(context.get(), portal.c_str(), 1) != 0) {
    *error = iscsi_get_error(context.get());
    context.reset();
  }
  return context;
}

uint64_t SizeBytes(iscsi_context* context) {
  scsi_task* task = iscsi_readcapacity16_sync(context, 1);
  if (task == nullptr || task->status != SCSI_STATUS_GOOD) return 0;
  const auto* capacity = static_cast<scsi_readcapacity16*>(scsi_datain_unmarshall(task));
  const uint64_t size =
      capacity == nullptr ? 0 : (capacity->returned_lba + 1) * capacity->block_length;
  scsi_free_scsi_task(task);
  return size;
}

void MakeTarget(Tgt& server) {
  ASSERT_TRUE(server.NewTarget(1, kTarget));
  const auto made = server.NewLun({});
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(server.Allow(1, "ALL"));
}

// Gone, or a zombie that init has not reaped.
bool Ended(pid_t pid) {
  auto stat = base::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  return !stat || stat->find(") Z ") != std::string::npos;
}

bool EndsSoon(pid_t pid) {
  const auto end = std::chrono::steady_clock::now() + kSoonMs;
  while (!Ended(pid) && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return Ended(pid);
}

TEST(Tgt, ServesALunAtEachOfItsPortals) {
  auto server = Tgt::Start({.addresses = {"127.0.0.1", "[::1]", "127.0.0.1"}});
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  ASSERT_EQ(server->portals().size(), 3u);
  for (const auto& portal : server->portals()) {
    std::string error;
    const Context context = Login(portal, &error);
    ASSERT_NE(context, nullptr) << portal << ": " << error;
    EXPECT_EQ(SizeBytes(context.get()), 64u << 20);
  }
}

TEST(Tgt, TwoServersSideBySideKnowTheirOwnTargets) {
  auto first = Tgt::Start();
  ASSERT_TRUE(first) << first.error().message;
  auto second = Tgt::Start();
  ASSERT_TRUE(second) << second.error().message;
  MakeTarget(*first);
  const auto shown = second->Show();
  ASSERT_TRUE(shown);
  EXPECT_EQ(shown->find(kTarget), std::string::npos);
}

TEST(Tgt, AKilledServerComesBackOnItsPortsWithoutTargetsAndWithItsFiles) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  const std::string portal = server->portal();
  const pid_t pid = server->pid();
  ASSERT_TRUE(server->Kill());
  EXPECT_TRUE(Ended(pid));
  EXPECT_EQ(server->pid(), 0);
  const auto restarted = server->Restart();
  ASSERT_TRUE(restarted) << restarted.error().message;
  EXPECT_EQ(server->portal(), portal);
  std::string error;
  EXPECT_EQ(Login(portal, &error), nullptr);
  EXPECT_TRUE(std::filesystem::exists(server->file({})));
  MakeTarget(*server);
  EXPECT_NE(Login(portal, &error), nullptr) << error;
}

TEST(Tgt, AFrozenServerAnswersNothingAndAThawedOneAnswersAgain) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  ASSERT_TRUE(server->Freeze());
  std::string error;
  EXPECT_EQ(Login(server->portal(), &error, kFrozenCallS), nullptr);
  ASSERT_TRUE(server->Thaw());
  EXPECT_NE(Login(server->portal(), &error), nullptr) << error;
}

TEST(Tgt, ATargetWithAnAccountAsksForIt) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  ASSERT_TRUE(server->NewAccount("alice", "secret123456"));
  ASSERT_TRUE(server->BindAccount(1, "alice"));
  std::string error;
  EXPECT_EQ(Login(server->portal(), &error), nullptr);
  EXPECT_NE(error.find("(513)"), std::string::npos) << error;
  EXPECT_NE(Login(server->portal(), &error, kCallSMax, "alice", "secret123456"), nullptr) << error;
}

TEST(Tgt, AResizedLunShowsItsNewSize) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  const auto resized = server->ResizeLun({.size_bytes = 128 << 20});
  ASSERT_TRUE(resized) << resized.error().message;
  std::string error;
  const Context context = Login(server->portal(), &error);
  ASSERT_NE(context, nullptr) << error;
  EXPECT_EQ(SizeBytes(context.get()), 128u << 20);
}

TEST(Tgt, DropsTheConnectionsOfATarget) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  std::string error;
  const Context context = Login(server->portal(), &error);
  ASSERT_NE(context, nullptr) << error;
  EXPECT_EQ(server->Sessions(1)->size(), 1u);
  ASSERT_TRUE(server->DropConnections(1));
  EXPECT_TRUE(server->Sessions(1)->empty());
}

TEST(Tgt, SaysWhatTgtadmSaid) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  const auto deleted = server->DeleteTarget(7);
  ASSERT_FALSE(deleted);
  EXPECT_NE(deleted.error().message.find("can't find the target"), std::string::npos)
      << deleted.error().message;
}

TEST(Tgt, StopLeavesNothingRunningAndMayBeRepeated) {
  auto server = Tgt::Start();
  ASSERT_TRUE(server) << server.error().message;
  MakeTarget(*server);
  const pid_t pid = server->pid();
  ASSERT_FALSE(Ended(pid));
  ASSERT_TRUE(server->Stop());
  EXPECT_TRUE(Ended(pid));
  EXPECT_TRUE(server->Stop());
}

TEST(Tgt, TheDestructorEndsAFrozenServerToo) {
  pid_t pid = 0;
  {
    auto server = Tgt::Start();
    ASSERT_TRUE(server) << server.error().message;
    pid = server->pid();
    ASSERT_TRUE(server->Freeze());
  }
  EXPECT_TRUE(Ended(pid));
}

// The owner waits to be killed, with a server in `directory`; returns the owner's pid, and the
// server's in `server`.
pid_t ForkOwner(const std::filesystem::path& directory, pid_t* server) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return -1;
  const base::UniqueFd reader(fds[0]);
  base::UniqueFd writer(fds[1]);
  const pid_t owner = fork();
  if (owner == 0) {
    setpgid(0, 0);
    auto started = Tgt::Start({.directory = directory});
    if (started) (void)started->Freeze();
    const pid_t pid = started ? started->pid() : 0;
    (void)!write(writer.get(), &pid, sizeof pid);
    for (;;) pause();
  }
  setpgid(owner, owner);
  writer.Reset();
  if (read(reader.get(), server, sizeof *server) != ssize_t{sizeof *server}) *server = 0;
  return owner;
}

TEST(Tgt, AFrozenServerEndsWhenItsOwnerIsKilled) {
  const base::TempDir directory;
  pid_t server = 0;
  const pid_t owner = ForkOwner(directory.path(), &server);
  ASSERT_GT(owner, 0);
  EXPECT_GT(server, 0);
  EXPECT_FALSE(Ended(server));
  kill(-owner, SIGKILL);
  waitpid(owner, nullptr, 0);
  EXPECT_TRUE(EndsSoon(server));
}

}  // namespace
}  // namespace gantry::lab
