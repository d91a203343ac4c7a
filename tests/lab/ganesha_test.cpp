// SPDX-License-Identifier: Apache-2.0
// The lab's promises, against real servers and a real client (libnfs, NFSv3).
#include "tests/lab/ganesha.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nfsc/libnfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::lab {
namespace {

constexpr int kCallMsMax = 3000;
constexpr int kFrozenCallMs = 300;
constexpr std::chrono::milliseconds kSoonMs{10000};

struct NfsClose {
  void operator()(nfs_context* context) const { nfs_destroy_context(context); }
};
using Nfs = std::unique_ptr<nfs_context, NfsClose>;

// A context that has mounted an export, or null and why in `error`.
Nfs Mount(const Ganesha& server, const std::string& path, std::string* error,
          int call_ms_max = kCallMsMax) {
  Nfs context(nfs_init_context());
  const std::string text = "nfs://127.0.0.1" + path +
                           "/?version=3&nfsport=" + std::to_string(server.port()) +
                           "&mountport=" + std::to_string(server.mount_port());
  nfs_url* url = nfs_parse_url_dir(context.get(), text.c_str());
  nfs_set_timeout(context.get(), call_ms_max);
  nfs_set_autoreconnect(context.get(), 0);
  const int rc = nfs_mount(context.get(), url->server, url->path);
  nfs_destroy_url(url);
  if (rc != 0) {
    *error = nfs_get_error(context.get());
    context.reset();
  }
  return context;
}

bool MakesDirectory(const Ganesha& server, const std::string& path, const std::string& name) {
  std::string error;
  const Nfs context = Mount(server, path, &error);
  if (context == nullptr) {
    ADD_FAILURE() << error;
    return false;
  }
  return nfs_mkdir(context.get(), name.c_str()) == 0;
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

TEST(Ganesha, TwoServersSideBySideServeTheirOwnDirectories) {
  auto first = Ganesha::Start();
  ASSERT_TRUE(first) << first.error().message;
  auto second = Ganesha::Start();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_NE(first->port(), second->port());
  EXPECT_TRUE(MakesDirectory(*first, first->export_path(), "/one"));
  EXPECT_TRUE(MakesDirectory(*second, second->export_path(), "/two"));
  EXPECT_TRUE(std::filesystem::is_directory(first->root() / "one"));
  EXPECT_TRUE(std::filesystem::is_directory(second->root() / "two"));
  EXPECT_FALSE(std::filesystem::exists(first->root() / "two"));
}

TEST(Ganesha, ServesSeveralExports) {
  auto server = Ganesha::Start({.exports = {"a", "b"}});
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_TRUE(MakesDirectory(*server, "/a", "/in-a"));
  EXPECT_TRUE(MakesDirectory(*server, "/b", "/in-b"));
  EXPECT_TRUE(std::filesystem::is_directory(server->root("a") / "in-a"));
  EXPECT_TRUE(std::filesystem::is_directory(server->root("b") / "in-b"));
}

TEST(Ganesha, AFrozenServerAnswersNothingAndAThawedOneAnswersAgain) {
  auto server = Ganesha::Start();
  ASSERT_TRUE(server) << server.error().message;
  ASSERT_TRUE(server->Freeze());
  std::string error;
  EXPECT_EQ(Mount(*server, "/vol", &error, kFrozenCallMs), nullptr);
  ASSERT_TRUE(server->Thaw());
  EXPECT_TRUE(MakesDirectory(*server, "/vol", "/after"));
}

TEST(Ganesha, AKilledServerComesBackOnItsPortWithItsFiles) {
  auto server = Ganesha::Start();
  ASSERT_TRUE(server) << server.error().message;
  ASSERT_TRUE(MakesDirectory(*server, "/vol", "/before"));
  const uint16_t port = server->port();
  const pid_t pid = server->pid();
  ASSERT_TRUE(server->Kill());
  EXPECT_TRUE(Ended(pid));
  EXPECT_EQ(server->pid(), 0);
  std::string error;
  EXPECT_EQ(Mount(*server, "/vol", &error), nullptr);
  const auto restarted = server->Restart();
  ASSERT_TRUE(restarted) << restarted.error().message;
  EXPECT_EQ(server->port(), port);
  EXPECT_NE(server->pid(), pid);
  const Nfs context = Mount(*server, "/vol", &error);
  ASSERT_NE(context, nullptr) << error;
  EXPECT_EQ(nfs_mkdir(context.get(), "/before"), -EEXIST);
}

TEST(Ganesha, StopLeavesNothingRunningAndMayBeRepeated) {
  auto server = Ganesha::Start();
  ASSERT_TRUE(server) << server.error().message;
  const pid_t pid = server->pid();
  ASSERT_FALSE(Ended(pid));
  ASSERT_TRUE(server->Stop());
  EXPECT_TRUE(Ended(pid));
  EXPECT_TRUE(server->Stop());
}

TEST(Ganesha, TheDestructorEndsAFrozenServerToo) {
  pid_t pid = 0;
  {
    auto server = Ganesha::Start();
    ASSERT_TRUE(server) << server.error().message;
    pid = server->pid();
    ASSERT_TRUE(server->Freeze());
  }
  EXPECT_TRUE(Ended(pid));
}

// A process with a server of its own in `directory`, and with what it started in a process group of
// its own. It runs `then` once the server is up, and waits to be killed.
class Owner {
 public:
  explicit Owner(
      const std::filesystem::path& directory,
      const std::function<void(Ganesha&)>& then = [](Ganesha&) {})
      : directory_(directory) {
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    reader_.Reset(pipe_fds[0]);
    const base::UniqueFd writer(pipe_fds[1]);
    pid_ = fork();
    if (pid_ != 0) {
      setpgid(pid_, pid_);
      return;
    }
    setpgid(0, 0);
    auto server = Ganesha::Start({.directory = directory});
    if (server) then(*server);
    const pid_t pid = server ? server->pid() : 0;
    (void)!write(writer.get(), &pid, sizeof(pid));
    for (;;) pause();
  }
  ~Owner() { Kill(); }

  // The server's, when it is up; 0: it did not start.
  pid_t Server() const {
    pid_t server = 0;
    return read(reader_.get(), &server, sizeof(server)) == ssize_t{sizeof(server)} ? server : 0;
  }
  // The server's, as soon as there is a process; 0: there was none in time.
  pid_t ServerThatStarts() const {
    const auto end = std::chrono::steady_clock::now() + kSoonMs;
    while (std::chrono::steady_clock::now() < end) {
      const auto text = base::ReadFile(directory_ / "pid", 100);
      if (text && text->ends_with('\n')) return std::stoi(*text);
      std::this_thread::yield();
    }
    return 0;
  }
  // With all of its group, as a time limit does it.
  void Kill() {
    if (pid_ <= 0) return;
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  const std::filesystem::path directory_;
  base::UniqueFd reader_;
  pid_t pid_ = 0;
};

TEST(Ganesha, TheServerEndsWhenItsOwnerIsKilled) {
  const base::TempDir directory;
  Owner owner(directory.path());
  const pid_t server = owner.Server();
  ASSERT_GT(server, 0);
  ASSERT_FALSE(Ended(server));
  owner.Kill();
  EXPECT_TRUE(EndsSoon(server));
}

TEST(Ganesha, TheServerEndsWhenItsOwnerIsKilledWhileItStarts) {
  const base::TempDir directory;
  Owner owner(directory.path());
  const pid_t server = owner.ServerThatStarts();
  ASSERT_GT(server, 0);
  owner.Kill();
  EXPECT_TRUE(EndsSoon(server));
}

TEST(Ganesha, AServerThatWasStartedAgainAndFrozenEndsWithItsOwner) {
  const base::TempDir directory;
  Owner owner(directory.path(), [](Ganesha& server) {
    (void)server.Kill();
    (void)server.Restart();
    (void)server.Freeze();
  });
  const pid_t server = owner.Server();
  ASSERT_GT(server, 0);
  ASSERT_FALSE(Ended(server));
  owner.Kill();
  EXPECT_TRUE(EndsSoon(server));
}

TEST(Ganesha, TheServerEndsWithItsOwnerThoughItsDirectoryIsGone) {
  const base::TempDir directory;
  const auto of_server = directory.path() / "server";
  Owner owner(of_server);
  const pid_t server = owner.Server();
  ASSERT_GT(server, 0);
  std::filesystem::remove_all(of_server);
  owner.Kill();
  EXPECT_TRUE(EndsSoon(server));
}

TEST(Ganesha, TheServerEndsWhenItsWatcherIsKilled) {
  const base::TempDir directory;
  Owner owner(directory.path());
  const pid_t server = owner.Server();
  ASSERT_GT(server, 0);
  const auto stat = base::ReadFile("/proc/" + std::to_string(server) + "/stat", 4096);
  ASSERT_TRUE(stat);
  const int watcher = std::stoi(stat->substr(stat->rfind(") ") + 4));
  ASSERT_GT(watcher, 1);
  ASSERT_EQ(kill(watcher, SIGKILL), 0);
  EXPECT_TRUE(EndsSoon(server));
}

TEST(Ganesha, RootSquashTakesRootsRightsAway) {
  auto server = Ganesha::Start({.root_squash = true});
  ASSERT_TRUE(server) << server.error().message;
  std::filesystem::permissions(server->root(), std::filesystem::perms{0755});
  std::string error;
  const Nfs context = Mount(*server, "/vol", &error);
  ASSERT_NE(context, nullptr) << error;
  nfs_set_uid(context.get(), 0);
  nfs_set_gid(context.get(), 0);
  EXPECT_EQ(nfs_mkdir(context.get(), "/denied"), -EACCES);
}

TEST(Ganesha, APrivilegedPortServerRefusesOthers) {
  auto server = Ganesha::Start({.privileged_port = true});
  ASSERT_TRUE(server) << server.error().message;
  const auto mounts = [&] {
    std::string error;
    return Mount(*server, "/vol", &error) != nullptr;
  };
  EXPECT_TRUE(mounts()) << "as root, libnfs takes a reserved port";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
    _exit(mounts() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: it was let in, 2: could not drop root";
}

TEST(Ganesha, AV4OnlyServerHasNoMountd) {
  auto server = Ganesha::Start({.v4_only = true});
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(server->mount_port(), 0);
}

TEST(Ganesha, SaysWhichPortIsTaken) {
  auto server = Ganesha::Start();
  ASSERT_TRUE(server) << server.error().message;
  auto again = Ganesha::Start({.port = server->port()});
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("port " + std::to_string(server->port())), std::string::npos)
      << again.error().message;
}

}  // namespace
}  // namespace gantry::lab
