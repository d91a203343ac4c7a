// SPDX-License-Identifier: Apache-2.0
// A hostile plugin in a real gantryd (tests/zoo/escapes.cpp): each attempt gets an error, or costs
// its own worker alone, and the host stays up. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uid_t kHostileUid = 61020;  // the others' follow
// Backends whose workers are to die are each one's own: a death makes the next start wait longer.
constexpr std::array kBackends{"hostile",      "neighbour", "ends-memory", "ends-shared-memory",
                               "ends-threads", "ends-abort"};
constexpr char kAbstract[] = "gantry-sandbox-test";
constexpr std::chrono::seconds kCallMax{40};
constexpr std::chrono::seconds kSoonMax{20};

bool Eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + kSoonMax;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    poll(nullptr, 0, 10);
  }
  return true;
}

base::UniqueFd Listen(const std::string& where, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(where.begin(), where.end(), address.sun_path);
  if (where[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + where.size() +
                                           (where[0] == '@' ? 0 : 1));
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0) << where;
  EXPECT_EQ(listen(fd.get(), 8), 0);
  if (where[0] != '@') chmod(where.c_str(), mode);
  return fd;
}

void WriteFile(const fs::path& path, mode_t mode) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "somebody else's\n";
  chmod(path.c_str(), mode);
}

// A process of the backend's own uid that is not its worker: another generation, a data path.
pid_t StartSibling() {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (setgid(kHostileUid) != 0 || setuid(kHostileUid) != 0) _exit(1);
  prctl(PR_SET_DUMPABLE, 1);  // the change of ids cleared it, and it would be a guard of its own
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) pause();
}

class Sandbox : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Secrets of others in /etc, which is this program's alone: main entered a mount namespace.
    fs::copy("/etc", files_->path() / "etc",
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    WriteFile(files_->path() / "etc/gantry/credentials", 0644);
    fs::create_directories(files_->path() / "etc/everybodys");
    fs::permissions(files_->path() / "etc/everybodys", fs::perms(0777));
    ASSERT_EQ(mount((files_->path() / "etc").c_str(), "/etc", nullptr, MS_BIND, nullptr), 0);

    fs::permissions(files_->path(), fs::perms(0755));
    WriteFile(files_->path() / "secret", 0644);
    fs::create_directories(files_->path() / "scratch");
    fs::permissions(files_->path() / "scratch", fs::perms(0777));
    sockets_.push_back(Listen(files_->path() / "root.sock", 0600));
    sockets_.push_back(Listen(files_->path() / "everybodys.sock", 0666));
    sockets_.push_back(Listen("@" + std::string(kAbstract), 0));
    sibling_ = StartSibling();

    const fs::path build = std::getenv("GANTRY_BUILD_DIR");
    lab::GantrydOptions options;
    options.plugin_directory = build / "tests/zoo";
    uid_t uid = kHostileUid;
    for (const char* name : kBackends) {
      options.driver_backends += (uid == kHostileUid ? "[" : ", ") + std::string(name);
      // With a sanitizer 256 threads take more than the others may have.
      const bool many_threads = std::string_view(name) == "ends-threads";
      options.backends += "  " + std::string(name) +
                          ": {plugin: escapes, owner: test, uid: " + std::to_string(uid++) +
                          ", limits: {memory_mib: " + (many_threads ? "4096" : "192") +
                          ", threads: 256}}\n";
    }
    options.driver_backends += "]";
    auto host = lab::Gantryd::Start(options);
    ASSERT_TRUE(host) << host.error().message;
    host_ = host->release();
    WriteFile(host_->kubelet() / "pods/1/file", 0644);
  }
  static void TearDownTestSuite() {
    delete host_;
    sockets_.clear();
    if (sibling_ > 0) {
      kill(sibling_, SIGKILL);
      waitpid(sibling_, nullptr, 0);
    }
    umount2("/etc", MNT_DETACH);
    delete files_;
  }

  struct Answer {
    grpc::Status status;
    std::string result;
  };
  static Answer Ask(const std::string& backend, const std::string& attempt,
                    const std::string& on = "") {
    static int count = 0;
    csi::v1::CreateVolumeRequest request;
    request.set_name("volume-" + std::to_string(++count));
    request.mutable_capacity_range()->set_required_bytes(1 << 20);
    auto& capability = *request.add_volume_capabilities();
    capability.mutable_mount();
    capability.mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
    (*request.mutable_parameters())["backend"] = backend;
    (*request.mutable_parameters())["attempt"] = attempt;
    (*request.mutable_parameters())["on"] = on;
    csi::v1::CreateVolumeResponse response;
    auto controller = csi::v1::Controller::NewStub(host_->Connect());
    Answer answer;
    auto context = lab::Within(kCallMax);
    context->set_wait_for_ready(true);
    answer.status = controller->CreateVolume(context.get(), request, &response);
    const auto& told = response.volume().volume_context();
    answer.result = told.contains("result") ? told.at("result") : "no result";
    return answer;
  }
  // What the hostile backend's attempt came to.
  static std::string Try(const std::string& attempt, const std::string& on = "") {
    const Answer answer = Ask("hostile", attempt, on);
    return answer.status.ok() ? answer.result : answer.status.error_message();
  }
  // One that costs the worker: the caller is told to try again, the log says why, and the backend is
  // back.
  // The backend has the attempt's name.
  static void ExpectEnd(const std::string& attempt, const std::string& why) {
    const Answer answer = Ask(attempt, attempt);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE)
        << answer.status.error_message() << answer.result;
    EXPECT_TRUE(Eventually([&] { return host_->Log().find(why) != std::string::npos; }))
        << "expected \"" << why << "\" in\n"
        << host_->Log();
    EXPECT_EQ(Ask(attempt, "ordinary-work").result, "OK") << host_->Log();
  }
  static std::string Neighbour() {
    const auto pids = host_->WorkerPids("neighbour");
    return pids.size() == 1 ? std::to_string(pids[0]) : "none";
  }
  // Every process that a plugin could want: gantryd, another backend's worker, init, one of its uid.
  static std::map<std::string, std::string> Processes() {
    return {{"gantryd", std::to_string(host_->pid())},
            {"the neighbour", Neighbour()},
            {"init", "1"},
            {"one of its own uid", std::to_string(sibling_)},
            {"this test", std::to_string(getpid())}};
  }
  void TearDown() override {
    EXPECT_EQ(Ask("neighbour", "ordinary-work").result, "OK") << host_->Log();
    EXPECT_EQ(kill(sibling_, 0), 0);
  }

  static inline auto* files_ = new base::TempDir;
  static inline lab::Gantryd* host_ = nullptr;
  static inline std::vector<base::UniqueFd> sockets_;
  static inline pid_t sibling_ = 0;
};

TEST_F(Sandbox, LeavesWhatLibrariesNeed) { EXPECT_EQ(Try("ordinary-work"), "OK"); }

TEST_F(Sandbox, RefusesMounts) {
  for (const char* attempt :
       {"mount", "bind", "umount", "fsopen", "open_tree", "move_mount", "pivot_root", "chroot"})
    EXPECT_EQ(Try(attempt), "EPERM") << attempt;
}

TEST_F(Sandbox, RefusesToTouchOtherProcesses) {
  for (const auto& [who, pid] : Processes())
    for (const char* attempt :
         {"ptrace", "process_vm_readv", "pidfd_open", "kill", "kill-high-bits", "tgkill", "tkill",
          "sigqueue", "own-of-fd", "prlimit"})
      EXPECT_EQ(Try(attempt, pid), "EPERM") << attempt << " on " << who;
  EXPECT_EQ(Try("kill", "-1"), "EPERM") << "everybody";
}

TEST_F(Sandbox, HasNoNameForAnySocketOfTheHost) {
  for (const fs::path& socket : {host_->directory() / "csi.sock", files_->path() / "root.sock",
                                 files_->path() / "everybodys.sock"})
    EXPECT_EQ(Try("connect", socket), "ENOENT") << socket;
}

TEST_F(Sandbox, ReachesNoAbstractSocket) {
  EXPECT_EQ(Try("connect", "@" + std::string(kAbstract)), "EPERM");
}

TEST_F(Sandbox, RefusesRawAndStrangeSockets) {
  for (const char* attempt :
       {"raw", "raw6", "packet", "packet-high-bits", "alg", "vsock", "uevents"})
    EXPECT_EQ(Try(attempt), "EPERM") << attempt;
}

TEST_F(Sandbox, ReadsNothingOfOthers) {
  EXPECT_EQ(Try("read", "/etc/shadow"), "EACCES");
  const std::string pid = std::to_string(host_->pid());
  std::vector<fs::path> files = {"/proc/1/status",
                                 "/proc/self/environ",
                                 "/proc/" + pid + "/status",
                                 "/proc/" + Neighbour() + "/cmdline",
                                 "/sys/kernel/mm/transparent_hugepage/enabled",
                                 "/etc/gantry/credentials",
                                 host_->directory() / "gantry.yaml",
                                 host_->directory() / "gantryd.log",
                                 host_->directory() / "state/gantryd.lock",
                                 host_->directory() / "state/leases/neighbour.lock",
                                 host_->kubelet() / "pods/1/file",
                                 files_->path() / "secret"};
#ifdef GANTRY_SANITIZED
  files.erase(files.begin(), files.begin() + 4);  // a sanitizer reads its own maps in /proc
#endif
  for (const auto& file : files) EXPECT_EQ(Try("read", file), "ENOENT") << file;
}

TEST_F(Sandbox, WritesNowhere) {
  for (const fs::path& file :
       {fs::path("/file"), fs::path("/etc/file"), fs::path("/usr/file"), fs::path("/dev/file"),
        fs::path("/dev/shm/file"), fs::path("/tmp/file"), fs::path("/var/tmp/file"),
        fs::path("/run/file"), fs::path("/etc/everybodys/file"), files_->path() / "scratch/file",
        fs::path("/etc/passwd")})
    EXPECT_THAT(Try("write", file), AnyOf("EACCES", "EROFS", "ENOENT")) << file;
  EXPECT_TRUE(fs::is_empty(files_->path() / "scratch"));
  EXPECT_EQ(Try("memfd"), "EFBIG");
}

TEST_F(Sandbox, RefusesHandlesOfFiles) {
  EXPECT_EQ(Try("open_by_handle_at"), "EPERM");
  EXPECT_EQ(Try("name_to_handle_at"), "EPERM");
}

TEST_F(Sandbox, RefusesNamespacesAndProcessesOfItsOwn) {
  for (const char* attempt : {"unshare", "setns", "clone-user", "clone-thread-user", "fork"})
    EXPECT_EQ(Try(attempt), "EPERM") << attempt;
  EXPECT_EQ(Try("clone3"), "ENOSYS");
}

TEST_F(Sandbox, ExecutesNothing) {
  for (const char* attempt : {"execve", "execveat", "posix_spawn"})
    for (const char* program : {"/usr/bin/true", "/usr/bin/su"})
      EXPECT_EQ(Try(attempt, program), "EPERM") << attempt << " of " << program;
}

TEST_F(Sandbox, RefusesTheKernelsBackRooms) {
  for (const char* attempt : {"tiocsti", "tiocsti-high-bits", "keyctl", "add_key", "bpf",
                              "perf_event_open", "userfaultfd", "personality", "shmget"})
    EXPECT_EQ(Try(attempt), "EPERM") << attempt;
  EXPECT_EQ(Try("io_uring"), "ENOSYS");
}

TEST_F(Sandbox, TakesNothingBack) {
  for (const char* attempt : {"dumpable", "deathsig", "setuid", "core-limit"})
    EXPECT_EQ(Try(attempt), "EPERM") << attempt;
#ifndef GANTRY_SANITIZED
  EXPECT_EQ(Try("data-limit"), "EPERM");
#endif
}

#ifdef __x86_64__
TEST_F(Sandbox, SpeaksNoOtherAbiOfTheMachine) {
  EXPECT_EQ(Try("i386"), "ENOSYS");
  EXPECT_EQ(Try("x32"), "ENOSYS");
}
#endif

TEST_F(Sandbox, BoundsOpenFiles) { EXPECT_EQ(Try("fds"), "EMFILE"); }

#ifndef GANTRY_SANITIZED
TEST_F(Sandbox, BoundsWhatIsReserved) { EXPECT_EQ(Try("reserve"), "ENOMEM"); }
#endif

TEST_F(Sandbox, EndsWhoeverUsesTooMuchMemory) {
  ExpectEnd("ends-memory", "MiB of memory, limits.memory_mib is 192");
}

TEST_F(Sandbox, EndsWhoeverUsesTooMuchSharedMemory) {
  ExpectEnd("ends-shared-memory", "MiB of memory, limits.memory_mib is 192");
}

TEST_F(Sandbox, EndsWhoeverStartsTooManyThreads) {
  ExpectEnd("ends-threads", "threads, limits.threads is 256");
}

TEST_F(Sandbox, ACrashLeavesNoCore) {
  ExpectEnd("ends-abort", "killed by SIGABRT");
  EXPECT_THAT(host_->Log(), Not(HasSubstr("core dumped")));
}

TEST_F(Sandbox, ItsMemoryIsNobodysButRoots) {
  // What the kernel shows as root's in a process of another uid cannot be dumped (proc(5)).
  struct stat shown {};
  ASSERT_EQ(stat(("/proc/" + Neighbour() + "/environ").c_str(), &shown), 0);
  EXPECT_EQ(shown.st_uid, 0U);
}

TEST_F(Sandbox, WorkersEnterCopiesOfOnePreparedTree) {
  const auto workers = host_->WorkerPids("hostile");
  ASSERT_EQ(workers.size(), 1U);
  const std::string one = "/proc/" + std::to_string(workers[0]);
  const std::string other = "/proc/" + Neighbour();
  struct stat ones {};
  struct stat others {};
  ASSERT_EQ(stat((one + "/root").c_str(), &ones), 0);
  ASSERT_EQ(stat((other + "/root").c_str(), &others), 0);
  EXPECT_EQ(ones.st_dev, others.st_dev) << host_->Log();
  EXPECT_NE(fs::read_symlink(one + "/ns/mnt"), fs::read_symlink(other + "/ns/mnt"));
}

TEST_F(Sandbox, TheKernelKillsAWorkerBeforeItsHost) {
  const auto score = [](const std::string& pid) {
    return std::atoi(base::ReadFile("/proc/" + pid + "/oom_score_adj", 64).value_or("").c_str());
  };
  EXPECT_GE(score(Neighbour()), score(std::to_string(host_->pid())) + 300);
}

TEST_F(Sandbox, AWorkerDiesWithItsHostEvenWhenItCannotRun) {
  const auto workers = host_->WorkerPids("hostile");
  ASSERT_EQ(workers.size(), 1U);
  ASSERT_EQ(kill(workers[0], SIGSTOP), 0);
  ASSERT_TRUE(host_->Kill(SIGKILL));
  EXPECT_TRUE(Eventually([&] { return host_->WorkerPids("hostile").empty(); }));
  ASSERT_TRUE(host_->Restart()) << host_->Log();
}

TEST_F(Sandbox, SaysWhatThisMachineDoesNotEnforce) {
  EXPECT_THAT(host_->Log(), HasSubstr("not enforced: cgroup: none is delegated"));
  for (const char* part : {"mounts: ", "landlock", "seccomp: ", "oom_score_adj: "})
    EXPECT_THAT(host_->Log(), Not(HasSubstr("not enforced: " + std::string(part))));
}

}  // namespace
}  // namespace gantry::tests
