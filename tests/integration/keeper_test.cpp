// SPDX-License-Identifier: Apache-2.0
// What the keeper promises when others die, misbehave or meet.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "host/base/file.hpp"
#include "tests/integration/volume_fixture.hpp"
#include "tests/integration/waiting_stat.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

class KeeperTest : public VolumeFixture {};

bool IsGone(int error) { return error == ENOTCONN || error == ECONNABORTED || error == ENODEV; }

// Before any other test starts a thread: this one forks.
TEST_F(KeeperTest, AndDataPathOutliveAKilledClient) {
  FuseMount& mount = Mount("v");
  const pid_t first = fork();
  if (first == 0) {
    // Not the fixture's: its destructor does not run here.
    auto* starter = new services::KeeperClient(Options());
    const auto started = starter->Start(Spec("v", mount.TakeFd()), In(kLong));
    if (!started) _exit(1);
    std::ofstream(directory_.path() / "started.tmp").close();
    fs::rename(directory_.path() / "started.tmp", directory_.path() / "started");
    for (;;) pause();
  }
  mount.TakeFd().Reset();
  ASSERT_TRUE(Eventually([&] { return fs::exists(directory_.path() / "started"); }, kLong));
  ASSERT_EQ(kill(first, SIGKILL), 0);
  ASSERT_EQ(waitpid(first, nullptr, 0), first);

  std::ofstream(mount.path() / "f") << "still here";
  EXPECT_EQ(base::ReadFile(backing() / "f", 100).value(), "still here");
  const auto state = State("v");
  EXPECT_TRUE(state.serving) << state.fault;
  EXPECT_GT(state.pid, 0);
  mount.Unmount();
  EXPECT_TRUE(client().Stop("v", In(kLong)));
  EXPECT_TRUE(client().List(In(kLong))->empty());
  EXPECT_EQ(kill(state.pid, 0), -1);
}

TEST_F(KeeperTest, StartsAndStopsSeveralVolumes) {
  for (const char* id : {"a", "b", "c"}) Serve(id);
  std::ofstream(directory_.path() / "a" / "f") << "x";
  EXPECT_TRUE(fs::exists(directory_.path() / "c" / "f"));
  ASSERT_TRUE(client().Stop("b", In(kLong)));
  EXPECT_EQ(client().List(In(kLong))->size(), 2U);
  EXPECT_TRUE(client().Stop("b", In(kLong)));
  EXPECT_TRUE(client().Stop("never there", In(kLong)));
}

TEST_F(KeeperTest, RefusesASecondDataPathOfAVolume) {
  Serve("v");
  FuseMount other(directory_.path() / "other");
  const auto again = client().Start(Spec("v", other.TakeFd()), In(kLong));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, base::Code::kAlreadyExists);
  EXPECT_TRUE(State("v").serving);
}

TEST_F(KeeperTest, ServesSeveralClients) {
  Serve("v");
  services::KeeperClient second(Options());
  ASSERT_EQ(second.List(In(kLong))->size(), 1U);
  EXPECT_EQ(client().List(In(kLong))->size(), 1U);
}

TEST_F(KeeperTest, SurvivesJunkOnItsSocket) {
  Serve("v");
  const pid_t keeper = KeeperPid();
  for (const std::string& junk :
       {std::string("x"), std::string(60000, 'j'), std::string(24, '\0')}) {
    const base::UniqueFd socket = Connect();
    ASSERT_TRUE(socket);
    ASSERT_GT(send(socket.get(), junk.data(), junk.size(), 0), 0);
    char byte = 0;
    EXPECT_LE(recv(socket.get(), &byte, 1, 0), 0) << "the keeper closes it";
  }
  EXPECT_TRUE(State("v").serving);
  EXPECT_EQ(KeeperPid(), keeper);
}

TEST_F(KeeperTest, AnswersAnUnknownRequest) {
  ASSERT_TRUE(client().List(In(kLong)));
  const base::UniqueFd socket = Connect();
  wire::KeeperMessage request;
  request.kind = static_cast<wire::KeeperKind>(999);
  request.id = 5;
  ASSERT_TRUE(wire::SendKeeper(socket.get(), request));
  const wire::KeeperMessage reply = Receive(socket);
  EXPECT_EQ(reply.id, 5U);
  EXPECT_EQ(reply.code, base::Code::kUnimplemented);
}

TEST_F(KeeperTest, ASecondKeeperIsRefused) {
  ASSERT_TRUE(client().List(In(kLong)));
  const auto program = base::PinnedBinary::Open(KeeperProgram());
  ASSERT_TRUE(program);
  base::SpawnOptions options;
  options.arguments = {"gantry-keeper", "--socket", socket_, "--worker", RunnerProgram()};
  auto second = base::Spawn(*program, options);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->Wait(std::chrono::seconds(10)).value()->code, 3);
  EXPECT_TRUE(client().List(In(kLong)));
}

TEST_F(KeeperTest, ADataPathServesOnWithoutAKeeper) {
  const fs::path root = Serve("v");
  const auto pid = State("v").pid;
  ASSERT_EQ(kill(KeeperPid(), SIGKILL), 0);
  std::ofstream(root / "f") << "on its own";
  EXPECT_EQ(base::ReadFile(backing() / "f", 100).value(), "on its own");
  mounts_["v"]->Unmount();
  // A zombie of init's, or gone: either way it answers to nothing any more.
  EXPECT_TRUE(Eventually(
      [&] {
        const auto status = base::ReadFile("/proc/" + std::to_string(pid) + "/status", 1 << 16);
        return !status || status->find("State:\tZ") != std::string::npos;
      },
      kLong));
}

TEST_F(KeeperTest, ADeadDataPathIsToldAndItsCallersGetAnError) {
  const fs::path root = Serve("v");
  WaitingStat hung(root / ".hang");
  ASSERT_TRUE(hung.waits());
  const auto pid = State("v").pid;
  ASSERT_GT(pid, 0);
  const auto died = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  EXPECT_TRUE(SawChange(
      "v", [](const auto& state) { return state.pid == 0 && !state.fault.empty(); },
      std::chrono::seconds(1)));
  struct stat s {};
  EXPECT_EQ(stat((root / "x").c_str(), &s), -1);
  EXPECT_TRUE(IsGone(errno)) << errno;
  const int hung_result = hung.Join();
  EXPECT_TRUE(IsGone(hung_result)) << hung_result;
  EXPECT_LT(std::chrono::steady_clock::now() - died, std::chrono::seconds(1));
  const auto state = State("v");
  EXPECT_FALSE(state.serving);
  EXPECT_NE(state.fault.find("SIGKILL"), std::string::npos) << state.fault;
  EXPECT_TRUE(client().Stop("v", In(kLong)));
}

TEST_F(KeeperTest, APluginThatAbortsTakesOnlyItsVolumeAlong) {
  const fs::path root = Serve("bad");
  Serve("good");
  struct stat s {};
  EXPECT_EQ(stat((root / ".crash").c_str(), &s), -1);
  EXPECT_TRUE(IsGone(errno)) << errno;
  EXPECT_EQ(stat((directory_.path() / "good").c_str(), &s), 0);
  EXPECT_TRUE(SawChange(
      "bad", [](const auto& state) { return state.pid == 0; }, std::chrono::seconds(5)));
}

TEST_F(KeeperTest, AStartThatFailsSaysWhyAndLeavesNothing) {
  FuseMount& mount = Mount("v");
  auto spec = Spec("v", mount.TakeFd());
  spec.parameters["directory"] = "/no/such/directory";
  const auto started = client().Start(std::move(spec), In(std::chrono::milliseconds(1500)));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("No such file"), std::string::npos)
      << started.error().message;
  EXPECT_TRUE(client().List(In(kLong))->empty());
  struct stat s {};
  EXPECT_EQ(stat((mount.path() / "x").c_str(), &s), -1);
  EXPECT_TRUE(IsGone(errno)) << errno;
}

TEST_F(KeeperTest, ABadIdentityIsRefusedByName) {
  FuseMount& mount = Mount("v");
  auto spec = Spec("v", mount.TakeFd());
  spec.parameters["identity"] = "fixed(root)";
  const auto started = client().Start(std::move(spec), In(kLong));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("identity is \"fixed(root)\""), std::string::npos)
      << started.error().message;
}

TEST_F(KeeperTest, OpenIsTriedAgainUntilTheStorageIsThere) {
  FuseMount& mount = Mount("v");
  auto spec = Spec("v", mount.TakeFd());
  spec.parameters["away"] = "3";
  const auto started = client().Start(std::move(spec), In(kLong));
  EXPECT_TRUE(started) << started.error().message;
}

TEST_F(KeeperTest, StopEndsAHungDataPathInTime) {
  const fs::path root = Serve("v");
  WaitingStat hung(root / ".hang");
  ASSERT_TRUE(hung.waits());
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(client().Stop("v", In(std::chrono::seconds(4))));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(4));
  EXPECT_TRUE(client().List(In(kLong))->empty());
  EXPECT_TRUE(IsGone(hung.Join()));
}

TEST_F(KeeperTest, AnUnmountedVolumesProcessEndsByItself) {
  Serve("v");
  const auto pid = State("v").pid;
  mounts_["v"]->Unmount();
  EXPECT_TRUE(SawChange(
      "v", [](const auto& state) { return state.pid == 0; }, std::chrono::seconds(5)));
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_TRUE(client().Stop("v", In(kLong)));
}

// That it serves from there is shown with a real server, in nfs_node_test.
TEST_F(KeeperTest, TheRealWorkerSeesNoDirectoryOfTheHost) {
  constexpr uint32_t kUid = 61234;
  fs::permissions(directory_.path(), fs::perms::all);
  fs::permissions(backing(), fs::perms::all);
  auto options = Options();
  options.worker = BuildDir() / "bin" / "gantry-worker";
  services::KeeperClient real(options);
  FuseMount& mount = Mount("v");
  auto spec = Spec("v", mount.TakeFd());
  spec.uid = kUid;
  spec.gid = kUid;
  const auto started = real.Start(std::move(spec), In(std::chrono::milliseconds(1500)));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("No such file"), std::string::npos)
      << started.error().message;
}

TEST_F(KeeperTest, AWorkerThatEndsBeforeItServesSaysWhyInItsLastLine) {
  auto options = Options();
  options.worker = BuildDir() / "bin" / "gantry-worker";
  services::KeeperClient real(options);
  FuseMount& mount = Mount("v");
  auto spec = Spec("v", mount.TakeFd());
  const auto started = real.Start(std::move(spec), In(kLong));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("--uid and --gid"), std::string::npos)
      << started.error().message;
}

TEST_F(KeeperTest, GivesCopiesOfTheFds) {
  Serve("v");
  const auto fds = client().Fds("v", In(kLong));
  ASSERT_TRUE(fds) << fds.error().message;
  EXPECT_TRUE(fds->fuse && fds->memory && fds->description);
  EXPECT_FALSE(client().Fds("w", In(kLong)));
}

// Who hears that a path serves may end the keeper at once: the next one must know it too.
TEST_F(KeeperTest, AHolderHasTheCopyBeforeItHearsTheNews) {
  ASSERT_TRUE(client().List(In(kLong)));
  const base::UniqueFd holder = Connect();
  wire::KeeperMessage hold;
  hold.kind = wire::KeeperKind::kHold;
  ASSERT_TRUE(wire::SendKeeper(holder.get(), hold));
  Serve("v");
  const auto serves = [](const wire::KeeperMessage& message) {
    return message.Number(wire::KeeperTag::kServing) != 0;
  };
  wire::KeeperMessage message = Receive(holder);
  while (!serves(message)) message = Receive(holder);
  EXPECT_EQ(message.kind, wire::KeeperKind::kHeld);
}

TEST_F(KeeperTest, ItsSocketIsForItsUserAlone) {
  ASSERT_TRUE(client().List(In(kLong)));
  struct stat s {};
  ASSERT_EQ(stat(socket_.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 07777, 0600U);
}

}  // namespace
}  // namespace gantry::tests
