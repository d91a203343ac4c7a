// SPDX-License-Identifier: Apache-2.0
// Trees copied and removed on a real server, compared behind its back. The number of files comes
// from the environment (GANTRY_TREE_FILES), so that the long tests run the same with more, and so does
// a source tree that people have written (GANTRY_TREE_OF_PEOPLE).
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>

#include "plugins/common/tree_copy.hpp"
#include "plugins/common/tree_removal.hpp"
#include "plugins/nfs/nfs_storage.hpp"
#include "plugins/nfs/nfs_tree.hpp"
#include "plugins/nfs/testing/file_tree.hpp"
#include "tests/lab/ganesha.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using plugin::CopyOutcome;
using plugin::CopyProgress;
using plugin::TreeCopy;
namespace code = plugin::code;
namespace fs = std::filesystem;

size_t Files() {
  const char* files = std::getenv("GANTRY_TREE_FILES");
  return files != nullptr ? std::strtoul(files, nullptr, 10) : 1'000;
}

lab::Ganesha Started(lab::GaneshaOptions options = {}) {
  auto server = lab::Ganesha::Start(std::move(options));
  if (!server) throw std::runtime_error(server.error().message);
  return std::move(*server);
}

// An export with "src" and "dst" in it, made before the server has seen either.
class Export {
 public:
  explicit Export(const lab::Ganesha& server)
      : server_{"127.0.0.1", server.export_path(), server.port(), server.mount_port()},
        root_(server.root()),
        client_(server_, *Credentials::Sys(0, 0, {})) {
    fs::create_directories(source());
    fs::create_directories(target());
  }

  fs::path source() const { return root_ / "src"; }
  fs::path target() const { return root_ / "dst"; }
  NfsTree Tree(TreeOptions options = {}) const {
    return {server_, *Credentials::Sys(0, 0, {}), options};
  }
  plugin::NodeId IdOf(std::string_view name) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    const auto root = client_.MountRoot(deadline);
    if (!root) throw std::runtime_error(root.error().message);
    if (name.empty()) return IdOf(*root);
    const auto found = client_.Do(Lookup{*root, name}, deadline);
    if (!found) throw std::runtime_error(found.error().message);
    return nfs::IdOf(found->handle);
  }
  plugin::Result<CopyOutcome> Copy(const std::function<bool(const CopyProgress&)>& go_on =
                                       [](const CopyProgress&) { return true; }) {
    NfsTree tree(server_, *Credentials::Sys(0, 0, {}));
    return TreeCopy(tree).Run(IdOf("src"), IdOf("dst"), go_on);
  }
  SyncClient& client() { return client_; }
  static plugin::NodeId IdOf(const FileHandle& handle) { return nfs::IdOf(handle); }
  Server server_;

 private:
  fs::path root_;
  SyncClient client_;
};

void ExpectDone(const plugin::Result<CopyOutcome>& outcome) {
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_TRUE(outcome->done);
}

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(NfsTreeCopy, IsEqualEntryByEntryAndRemovedAgain) {
  const auto server = Started();
  Export share(server);
  testing::MakeFileTree(share.source(), Files());
  auto begin = std::chrono::steady_clock::now();
  const auto outcome = share.Copy();
  ExpectDone(outcome);
  std::printf("copied %zu entries in %.2f s\n", static_cast<size_t>(outcome->progress.entries),
              SecondsSince(begin));
  testing::ExpectSameTree(share.source(), share.target());

  begin = std::chrono::steady_clock::now();
  const auto again = share.Copy();
  ExpectDone(again);
  std::printf("found them complete in %.2f s\n", SecondsSince(begin));
  EXPECT_EQ(again->progress.entries, outcome->progress.entries);
  EXPECT_EQ(again->progress.bytes, outcome->progress.bytes);
  testing::ExpectSameTree(share.source(), share.target());

  begin = std::chrono::steady_clock::now();
  NfsTree tree = share.Tree();
  plugin::TreeRemoval removal(tree, [] { return true; });
  removal.Begin(share.IdOf(""), "dst");
  while (removal.state() == plugin::TreeRemoval::State::kRunning) {
    tree.Wait(tree.Now() + 50ms);
    removal.Pump();
  }
  std::printf("removed them in %.2f s\n", SecondsSince(begin));
  EXPECT_EQ(removal.state(), plugin::TreeRemoval::State::kGone) << removal.stuck();
  EXPECT_EQ(removal.removed(), outcome->progress.entries);
  EXPECT_FALSE(fs::exists(share.target()));
}

TEST(NfsTreeCopy, OfASourceTreeIsEqualEntryByEntry) {
  const char* people = std::getenv("GANTRY_TREE_OF_PEOPLE");
  const fs::path tree =
      people != nullptr ? people : fs::path(std::getenv("GANTRY_SOURCE_DIR")) / "sdk";
  const auto server = Started();
  Export share(server);
  ASSERT_EQ(std::system(("cp -a " + (tree / ".").string() + " " + share.source().string()).c_str()),
            0);
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome = share.Copy();
  ExpectDone(outcome);
  std::printf("copied %zu entries, %zu MiB of %s in %.2f s\n",
              static_cast<size_t>(outcome->progress.entries),
              static_cast<size_t>(outcome->progress.bytes >> 20), tree.c_str(),
              SecondsSince(begin));
  testing::ExpectSameTree(share.source(), share.target());
}

TEST(NfsTreeCopy, GoesOnAfterBeingStoppedAtRandomPoints) {
  const auto server = Started();
  Export share(server);
  testing::MakeFileTree(share.source(), Files() / 2, 2);
  std::mt19937 random(3);
  uint64_t reached = 0;
  int runs = 0;
  for (bool done = false; !done; ++runs) {
    const uint64_t stop_at = reached + 1 + random() % (Files() / 8);
    const auto outcome = share.Copy([&](const CopyProgress& progress) {
      reached = std::max(reached, progress.entries);
      return progress.entries < stop_at;
    });
    ASSERT_TRUE(outcome) << outcome.error().message;
    done = outcome->done;
    ASSERT_LT(runs, 200);
  }
  EXPECT_GE(runs, 2);
  testing::ExpectSameTree(share.source(), share.target());
}

TEST(NfsTreeCopy, OutlivesTheServer) {
  auto server = Started();
  Export share(server);
  testing::MakeFileTree(share.source(), Files() / 4, 4);
  std::string large(64 << 20, 'x');
  for (size_t i = 0; i < large.size(); i += 997) large[i] = static_cast<char>(i);
  testing::WriteFile(share.source() / "large", large);
  int kills = 0;
  const auto outcome = share.Copy([&](const CopyProgress& progress) {
    const bool due = (kills == 0 && progress.entries > Files() / 16) ||
                     (kills == 1 && progress.bytes > large.size() / 3) ||
                     (kills == 2 && progress.entries > Files() / 5);
    if (due) {
      ++kills;
      EXPECT_TRUE(server.Kill());
      EXPECT_TRUE(server.Restart());
    }
    return true;
  });
  ExpectDone(outcome);
  EXPECT_GE(kills, 2);
  testing::ExpectSameTree(share.source(), share.target());
}

TEST(NfsTreeCopy, EndsWithinItsPatienceWhenTheServerIsGone) {
  auto server = Started();
  Export share(server);
  testing::MakeFileTree(share.source(), 500, 4);
  TreeOptions options;
  options.outage_max = 1s;
  NfsTree tree = share.Tree(options);
  const auto from = share.IdOf("src");
  const auto to = share.IdOf("dst");
  bool killed = false;
  const auto failed = TreeCopy(tree).Run(from, to, [&](const CopyProgress&) {
    if (!std::exchange(killed, true)) {
      EXPECT_TRUE(server.Kill());
    }
    return true;
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kUnavailable) << failed.error().message;
}

// Writes a file through the server, as another client does: all of it with one letter, in parts.
void WriteVersion(SyncClient& client, const FileHandle& file, char letter, size_t bytes) {
  const std::string part(64 * 1024, letter);
  for (size_t at = 0; at < bytes; at += part.size()) {
    nfs::Write call;
    call.file = file;
    call.offset = at;
    call.data = std::as_bytes(std::span(part.data(), part.size()));
    ASSERT_TRUE(client.Do(call, std::chrono::steady_clock::now() + 10s));
  }
}

TEST(NfsTreeCopy, IsNeverTornByWhoWritesMeanwhile) {
  constexpr size_t kBytes = 4 << 20;
  const auto server = Started();
  Export share(server);
  for (int i = 0; i < 4; ++i) {
    testing::WriteFile(share.source() / ("f" + std::to_string(i)), std::string(kBytes, 'a'));
  }
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    SyncClient client(share.server_, *Credentials::Sys(0, 0, {}));
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    const auto root = *client.MountRoot(deadline);
    const auto source = client.Do(Lookup{root, "src"}, deadline)->handle;
    const auto file = client.Do(Lookup{source, "f2"}, deadline)->handle;
    for (int version = 1; version < 4 && !stop; ++version) {
      WriteVersion(client, file, static_cast<char>('a' + version), kBytes);
    }
  });
  const auto outcome = share.Copy();
  stop = true;
  writer.join();
  ExpectDone(outcome);
  // What was copied was there at one time: whole versions, or the source's very last state.
  ExpectDone(share.Copy());
  testing::ExpectSameTree(share.source(), share.target());
}

TEST(NfsTreeCopy, SaysWhichFileKeepsChanging) {
  // So large, and changed by so little at a time, that every reading of it meets a change.
  constexpr size_t kBytes = 32 << 20;
  constexpr size_t kChangedBytes = 512;
  const auto server = Started();
  Export share(server);
  testing::WriteFile(share.source() / "calm", "calm");
  testing::WriteFile(share.source() / "busy", std::string(kBytes, 'a'));
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    SyncClient client(share.server_, *Credentials::Sys(0, 0, {}));
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    const auto root = *client.MountRoot(deadline);
    const auto source = client.Do(Lookup{root, "src"}, deadline)->handle;
    const auto file = client.Do(Lookup{source, "busy"}, deadline)->handle;
    for (int version = 0; !stop; ++version) {
      WriteVersion(client, file, static_cast<char>('a' + version % 26), kChangedBytes);
    }
  });
  const auto outcome = share.Copy();
  stop = true;
  writer.join();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, code::kAborted);
  EXPECT_NE(outcome.error().message.find("'busy' keeps changing"), std::string::npos)
      << outcome.error().message;
}

// A filesystem of its own size, mounted for a test.
class SmallDisk {
 public:
  SmallDisk(fs::path at, const char* options) : at_(std::move(at)) {
    fs::create_directories(at_);
    if (mount("tmpfs", at_.c_str(), "tmpfs", 0, options) != 0) {
      throw std::runtime_error("cannot mount a tmpfs");
    }
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() { umount2(at_.c_str(), MNT_DETACH); }

 private:
  const fs::path at_;
};

TEST(NfsTreeCopy, SaysThatTheDiskIsFullAndGoesOnWhenItIsNot) {
  const base::TempDir directory;
  const SmallDisk disk(directory.path() / "root/vol", "size=24m,mode=0777");
  lab::GaneshaOptions options;
  options.directory = directory.path();
  const auto server = Started(options);
  Export share(server);
  const fs::path ballast = share.source().parent_path() / "ballast";
  for (int i = 0; i < 8; ++i) {
    testing::WriteFile(share.source() / ("f" + std::to_string(i)), std::string(1 << 20, 'x'));
  }
  testing::WriteFile(ballast, std::string(12 << 20, 'b'));
  const auto failed = share.Copy();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kResourceExhausted) << failed.error().message;
  fs::remove(ballast);
  ExpectDone(share.Copy());
  testing::ExpectSameTree(share.source(), share.target());
}

TEST(NfsTreeCopy, SaysThatRootIsSquashed) {
  lab::GaneshaOptions options;
  options.root_squash = true;
  const auto server = Started(options);
  Export share(server);
  fs::permissions(share.target(), fs::perms::all);
  testing::WriteFile(share.source() / "file", "text");
  EXPECT_EQ(chmod((share.source() / "file").c_str(), 0600), 0);
  const auto failed = share.Copy();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kPermissionDenied) << failed.error().message;
}

}  // namespace
}  // namespace gantry::nfs
