// SPDX-License-Identifier: Apache-2.0
// Directories that the kernel reads with their entries' nodes, over the localfs plugin: what it is told, and
// that its counts are exact in every server that follows. The data path is killed where it counts: by a
// tracer, as it is about to write a reply and when it has just written it; and at random, under load. That
// no step between them is missed is lookup_batch_test's.
#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <future>
#include <latch>
#include <memory>
#include <thread>

#include "host/base/file.hpp"
#include "tests/integration/followed_volume.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr int kFiles = 120;
constexpr size_t kLongReplyBytes = 2048;  // no other reply of these tests is as long

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// As `ls -l` does: the names, and what each is. What is wrong is counted.
struct Listed {
  size_t names = 0;
  int wrong = 0;
};
Listed List(const fs::path& path, bool looks) {
  Listed listed;
  const Directory directory(opendir(path.c_str()));
  if (!directory) return {0, 1};
  for (;;) {
    errno = 0;
    const dirent* const entry = readdir(directory.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] == '.') continue;
    ++listed.names;
    struct stat found {};
    if (!looks) continue;
    if (fstatat(dirfd(directory.get()), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) ++listed.wrong;
    } else if (found.st_ino != entry->d_ino) {
      ++listed.wrong;
    }
  }
  if (errno != 0) ++listed.wrong;
  return listed;
}

// Kills a process at a writev of a long reply: before the kernel does it, or after.
class ReplyKiller {
 public:
  // It is being watched on return.
  ReplyKiller(pid_t pid, bool written)
      : pid_(pid), killed_(std::async(std::launch::async, [this, written] {
          const bool killed = Kill(written);
          if (!watched_.try_wait()) watched_.count_down();
          return killed;
        })) {
    watched_.wait();
  }
  // Whether it came to that. Waits.
  bool Join() {
    if (killed_.wait_for(kLong) != std::future_status::ready) kill(pid_, SIGKILL);
    return killed_.get();
  }

 private:
  bool IsLongReply(const __ptrace_syscall_info& info) const {
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != SYS_writev ||
        info.entry.args[2] != 2)
      return false;
    std::array<iovec, 2> parts{};
    const iovec local = {parts.data(), sizeof parts};
    const iovec remote = {reinterpret_cast<void*>(info.entry.args[1]), sizeof parts};
    return process_vm_readv(pid_, &local, 1, &remote, 1, 0) == ssize_t{sizeof parts} &&
           parts[1].iov_len >= kLongReplyBytes;
  }
  bool IsStopped(int* status) const {
    return waitpid(pid_, status, __WALL) == pid_ && WIFSTOPPED(*status);
  }
  bool Kill(bool written) {
    int status = 0;
    if (ptrace(PTRACE_SEIZE, pid_, nullptr, PTRACE_O_TRACESYSGOOD) != 0 ||
        ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr) != 0 || !IsStopped(&status))
      return false;
    watched_.count_down();
    for (bool found = false;;) {
      ptrace(PTRACE_SYSCALL, pid_, nullptr, nullptr);
      if (!IsStopped(&status)) return false;
      __ptrace_syscall_info info{};
      const bool at_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
      if (at_call) ptrace(PTRACE_GET_SYSCALL_INFO, pid_, sizeof info, &info);
      if (!found && !(at_call && IsLongReply(info))) continue;
      if (found || !written) break;
      found = true;
    }
    const bool killed = kill(pid_, SIGKILL) == 0;
    // Its own parent hears of it then.
    while (waitpid(pid_, &status, __WALL) == pid_ && !WIFSIGNALED(status)) {
    }
    return killed;
  }

  const pid_t pid_;
  std::latch watched_{1};
  std::future<bool> killed_;
};

class ReaddirplusTest : public FollowedVolume {
 protected:
  fs::path ServeFiles(const std::map<std::string, std::string>& parameters = {}) {
    for (int i = 0; i < kFiles; ++i)
      std::ofstream(backing() / ("file-" + std::to_string(i))) << std::string(i, 'x');
    fs::create_directory(backing() / "directory");
    fs::create_symlink("target", backing() / "link");
    fs::create_hard_link(backing() / "file-7", backing() / "again");
    return Serve(parameters);
  }
  static constexpr size_t kNames = kFiles + 3;

  datapath::NodeCounts Counts() { return Nodes().Count(); }
  void KillAtReplies(bool written) {
    constexpr int kDeaths = 4;
    const fs::path root = ServeFiles();
    ASSERT_EQ(List(root, /*looks=*/false).names, kNames);
    const auto wanted = Counts();
    // One file has two names, both in this reply where a kernel asks for more than a page.
    EXPECT_GE(wanted.lookups, wanted.nodes);
    for (int i = 0; i < kDeaths; ++i) {
      AllIsForgotten();
      const pid_t victim = State("v").pid;
      ReplyKiller killer(victim, written);
      const Listed listed = List(root, /*looks=*/false);
      EXPECT_TRUE(killer.Join());
      EXPECT_EQ(listed.names, kNames);
      EXPECT_EQ(listed.wrong, 0);
      HasAnother(victim);
      EXPECT_EQ(Counts().nodes, wanted.nodes);
      EXPECT_EQ(Counts().lookups, wanted.lookups);
    }
    EXPECT_EQ(State("v").take_overs, uint64_t{kDeaths});
    AllIsForgotten();
  }
};

TEST_F(ReaddirplusTest, AListingSaysWhatItsEntriesAre) {
  const fs::path root = ServeFiles();
  EXPECT_EQ(List(root, /*looks=*/false).names, kNames);
  EXPECT_GT(Counts().nodes, 10U) << "without a question about any of them";
  for (const auto& entry : fs::directory_iterator(backing())) {
    struct stat wanted {};
    struct stat found {};
    ASSERT_EQ(lstat(entry.path().c_str(), &wanted), 0);
    ASSERT_EQ(lstat((root / entry.path().filename()).c_str(), &found), 0);
    EXPECT_EQ(found.st_ino, wanted.st_ino) << entry.path();
    EXPECT_EQ(found.st_mode, wanted.st_mode) << entry.path();
    EXPECT_EQ(found.st_nlink, wanted.st_nlink) << entry.path();
    EXPECT_EQ(found.st_size, wanted.st_size) << entry.path();
    EXPECT_EQ(found.st_mtim.tv_sec, wanted.st_mtim.tv_sec) << entry.path();
    EXPECT_EQ(found.st_mtim.tv_nsec, wanted.st_mtim.tv_nsec) << entry.path();
  }
  AllIsForgotten();
}

// Its attributes are of before: where the kernel has forgotten the file meanwhile it would take them.
TEST_F(ReaddirplusTest, AnEntryThatWasChangedMeanwhileComesWithoutItsNode) {
  fs::create_directory(backing() / "few");
  for (const char* name : {"open", "other", ".held"}) std::ofstream(backing() / "few" / name) << "";
  const fs::path directory = Serve() / "few";
  const base::UniqueFd file(open((directory / "open").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(file);
  std::promise<pid_t> thread;
  auto listed = std::async(std::launch::async, [&] {
    thread.set_value(gettid());
    return List(directory, /*looks=*/false);
  });
  const pid_t lister = thread.get_future().get();
  ASSERT_TRUE(Eventually([&] { return WaitsForFuse(getpid(), lister); }, kLong));
  EXPECT_EQ(Counts().lookups, 2U) << "the directory and the file that is open";
  ASSERT_TRUE(base::WriteAll(file.get(), "longer"));
  fs::remove(backing() / "few" / ".held");
  EXPECT_EQ(listed.get().names, 2U);
  EXPECT_EQ(Counts().lookups, 4U) << "the others of the three";
  struct stat found {};
  ASSERT_EQ(stat((directory / "open").c_str(), &found), 0);
  EXPECT_EQ(found.st_size, 6);
}

TEST_F(ReaddirplusTest, AReplyThatIsEndedOnALaterTurnIsTheSame) {
  const fs::path root = ServeFiles({{"later", "1"}});
  const Listed listed = List(root, /*looks=*/true);
  EXPECT_EQ(listed.names, kNames);
  EXPECT_EQ(listed.wrong, 0);
  AllIsForgotten();
}

TEST_F(ReaddirplusTest, CountsOfAReplyThatWasNeverWrittenAreTakenBack) {
  KillAtReplies(/*written=*/false);
}

TEST_F(ReaddirplusTest, CountsOfAReplyThatWasJustWrittenStay) { KillAtReplies(/*written=*/true); }

TEST_F(ReaddirplusTest, CountsAreExactAfterManyDeathsAmongListingsAndChanges) {
  constexpr int kListers = 2;
  constexpr int kChangers = 2;
  constexpr int kDeaths = 40;
  const fs::path root = ServeFiles();
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::atomic<int> rounds = 0;
  std::vector<std::jthread> users;
  for (int t = 0; t < kListers; ++t)
    users.emplace_back([&] {
      while (!stop) {
        const Listed listed = List(root, /*looks=*/true);
        if (listed.wrong != 0 || listed.names < kNames) ++wrong;
        ++rounds;
      }
    });
  for (int t = 0; t < kChangers; ++t)
    users.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const std::string number = std::to_string(t) + "-" + std::to_string(i % 20);
        const fs::path name = root / ("made-" + number);
        const base::UniqueFd fd(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (!fd) ++wrong;
        // Localfs does what was begun once more, without a journal: gone is gone, there is there.
        const fs::path other = root / ("linked-" + number);
        if (link(name.c_str(), other.c_str()) != 0 && errno != EEXIST) ++wrong;
        for (const fs::path& gone : {name, other})
          if (unlink(gone.c_str()) != 0 && errno != ENOENT) ++wrong;
      }
    });
  for (int i = 0; i < kDeaths; ++i) {
    const int before = rounds;
    EXPECT_TRUE(Eventually([&] { return rounds > before + kListers; }, kLong));
    Kill();
  }
  stop = true;
  users.clear();
  EXPECT_EQ(wrong, 0);
  AllIsForgotten();
}

// What the kernel was told at its mount outlives the version that could do it.
TEST_F(ReaddirplusTest, AVersionWithoutItAnswersWithNamesAndOneWithItGoesOn) {
  const auto plugin = [](const std::string& name) {
    return BuildDir() / "lib" / "gantry" / "plugins" / (name + ".so");
  };
  const fs::path root = ServeFiles();
  for (const char* version : {"localfs_next", "localfs"}) {
    const auto upgraded = client().Upgrade("v", plugin(version), In(kLong));
    ASSERT_TRUE(upgraded) << upgraded.error().message;
    AllIsForgotten();
    EXPECT_EQ(List(root, /*looks=*/false).names, kNames) << version;
    if (version == std::string("localfs"))
      EXPECT_GT(Counts().nodes, 10U);
    else
      EXPECT_EQ(Counts().nodes, 0U);
    const Listed listed = List(root, /*looks=*/true);
    EXPECT_EQ(listed.names, kNames) << version;
    EXPECT_EQ(listed.wrong, 0) << version;
  }
  AllIsForgotten();
}

// It holds an fd of each node, as a client of Ceph holds an inode.
TEST_F(ReaddirplusTest, APluginIsToldWhichNodesTheKernelHasForgotten) {
  const fs::path root = ServeFiles({{"keeps", "1"}});
  const auto held = [&](const std::string& what) {
    size_t count = 0;
    std::error_code gone;
    const fs::path fds = "/proc/" + std::to_string(State("v").pid) + "/fd";
    for (const auto& entry : fs::directory_iterator(fds))
      if (fs::read_symlink(entry.path(), gone).string().find(what) != std::string::npos) ++count;
    return count;
  };
  {
    const base::UniqueFd file(open((root / "gone").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(base::WriteAll(file.get(), "data"));
    ASSERT_EQ(unlink((root / "gone").c_str()), 0);
    EXPECT_EQ(held("gone (deleted)"), 1U);
  }
  EXPECT_TRUE(Eventually([&] { return held("gone (deleted)") == 0; }, kLong));
  List(root, /*looks=*/true);
  // One file has two names.
  EXPECT_EQ(held("/backing/file-") + held("/backing/again"), size_t{kFiles});
  AllIsForgotten();
  EXPECT_TRUE(Eventually([&] { return held("/backing/") == 0; }, kLong)) << held("/backing/");
}

}  // namespace
}  // namespace gantry::tests
