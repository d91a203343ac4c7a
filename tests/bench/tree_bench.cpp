// SPDX-License-Identifier: Apache-2.0
// Copying and removing trees of small files, against the same done one operation after the other by
// libnfs. The bare side does the least a copy has to: it reads each file, makes it with its mode,
// writes it, closes it (which commits) and sets its times; it looks for nothing that is there, and
// neither owner nor a change meanwhile is its business.
//
// GANTRY_BENCH_COPY_FILES, GANTRY_BENCH_FAR_FILES, GANTRY_BENCH_TRASH_FILES: other numbers of files.
#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "plugins/common/trash.hpp"
#include "plugins/common/tree_copy.hpp"
#include "plugins/nfs/nfs_storage.hpp"
#include "plugins/nfs/nfs_tree.hpp"
#include "tests/bench/delay_relay.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/lab/ganesha.hpp"

namespace gantry::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;
constexpr size_t kFilesPerDirectory = 100;
constexpr size_t kFileBytes = 4'000;
constexpr std::chrono::milliseconds kOneWay{1};
constexpr std::chrono::milliseconds kCallMsMax{30'000};
constexpr int kBareCallMsMax = 10'000;
constexpr double kNearGoal = 1.8;
constexpr double kFarGoal = 10;
constexpr double kTrashGoal = 1.8;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

size_t Number(const char* variable, size_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoul(text, nullptr, 10) : otherwise;
}

void MakeTree(const fs::path& top, size_t files, size_t bytes) {
  const std::string content(bytes, 'c');
  for (size_t i = 0; i < files; ++i) {
    const fs::path in = top / ("d" + std::to_string(i / kFilesPerDirectory));
    if (i % kFilesPerDirectory == 0) fs::create_directories(in);
    std::ofstream(in / ("f" + std::to_string(i))) << content;
  }
}

size_t FilesIn(const fs::path& top) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(top)) {
    if (entry.is_regular_file() && entry.file_size() == kFileBytes) ++files;
  }
  return files;
}

double SecondsOf(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// --- bare libnfs ----------------------------------------------------------------------------

class Bare {
 public:
  Bare(const lab::Ganesha& server, uint16_t nfs_port) : nfs_(nfs_init_context()) {
    const std::string text = "nfs://127.0.0.1" + server.export_path() +
                             "/?version=3&nfsport=" + std::to_string(nfs_port) +
                             "&mountport=" + std::to_string(server.mount_port());
    nfs_url* url = nfs_parse_url_dir(nfs_, text.c_str());
    if (url == nullptr) Die(nfs_get_error(nfs_));
    nfs_set_timeout(nfs_, kBareCallMsMax);
    nfs_set_uid(nfs_, 0);
    nfs_set_gid(nfs_, 0);
    nfs_umask(nfs_, 0);
    Need(nfs_mount(nfs_, url->server, url->path), "mount");
    nfs_destroy_url(url);
  }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  ~Bare() { nfs_destroy_context(nfs_); }

  void CopyTree(const std::string& from, const std::string& to) {
    ForEach(from, [&](const nfsdirent& entry) {
      const std::string name = std::string("/") + entry.name;
      if (S_ISDIR(entry.mode)) {
        Need(nfs_mkdir2(nfs_, (to + name).c_str(), 0700), "mkdir");
        CopyTree(from + name, to + name);
      } else {
        CopyFile(from + name, to + name, entry);
      }
    });
  }

  void RemoveTree(const std::string& top) {
    ForEach(top, [&](const nfsdirent& entry) {
      const std::string path = top + "/" + entry.name;
      if (S_ISDIR(entry.mode)) {
        RemoveTree(path);
      } else {
        Need(nfs_unlink(nfs_, path.c_str()), "unlink");
      }
    });
    Need(nfs_rmdir(nfs_, top.c_str()), "rmdir");
  }

 private:
  void Need(int result, const std::string& what) {
    if (result < 0) Die("bare: " + what + ": " + nfs_get_error(nfs_));
  }

  void ForEach(const std::string& path, const std::function<void(const nfsdirent&)>& visit) {
    nfsdir* directory = nullptr;
    Need(nfs_opendir(nfs_, path.c_str(), &directory), "opendir " + path);
    while (const nfsdirent* entry = nfs_readdir(nfs_, directory)) {
      const std::string name = entry->name;
      if (name != "." && name != "..") visit(*entry);
    }
    nfs_closedir(nfs_, directory);
  }

  void CopyFile(const std::string& from, const std::string& to, const nfsdirent& entry) {
    nfsfh* source = nullptr;
    nfsfh* target = nullptr;
    std::string content(entry.size, '\0');
    Need(nfs_open(nfs_, from.c_str(), O_RDONLY, &source), "open");
    Need(nfs_pread(nfs_, source, 0, content.size(), content.data()), "read");
    Need(nfs_close(nfs_, source), "close");
    Need(nfs_open2(nfs_, to.c_str(), O_WRONLY | O_CREAT | O_EXCL,
                   static_cast<int>(entry.mode & 07777), &target),
         "create");
    Need(nfs_pwrite(nfs_, target, 0, content.size(), content.data()), "write");
    Need(nfs_close(nfs_, target), "close");
    timeval times[2] = {entry.atime, entry.mtime};
    Need(nfs_utimes(nfs_, to.c_str(), times), "utimes");
  }

  nfs_context* const nfs_;
};

// --- Gantry ---------------------------------------------------------------------------------

class Ours {
 public:
  Ours(const lab::Ganesha& server, uint16_t nfs_port)
      : server_{"127.0.0.1", server.export_path(), nfs_port, server.mount_port()},
        client_(server_, root_user_),
        storage_(client_, nfs::kNoDeadline, kCallMsMax, [] { return false; }),
        tree_(server_, root_user_) {
    const auto root = client_.MountRoot(Clock::now() + kCallMsMax);
    if (!root) Die(root.error().message);
    root_ = nfs::IdOf(*root);
  }

  void CopyTree(const std::string& from, const std::string& to) {
    const auto outcome = plugin::TreeCopy(tree_).Run(
        IdOf(from), IdOf(to), [](const plugin::CopyProgress&) { return true; });
    if (!outcome) Die("TreeCopy: " + outcome.error().message);
  }

  // As deleting a volume does it.
  void PutIntoTrash(const std::string& name) {
    const auto hold = storage_.MakeDirectory(Layout().trash, "hold-" + name, {0700, {}, {}});
    if (!hold || !storage_.Rename(root_, name, hold->id, std::string(plugin::kTrashedName))) {
      Die("cannot put " + name + " into the trash");
    }
  }

  void EmptyTrash() {
    const plugin::Layout layout = Layout();
    while (true) {
      plugin::Trash trash(
          storage_, tree_, layout, [this] { return "n" + std::to_string(++nonces_); },
          [] { return false; });
      const auto run = trash.Run();
      if (!run) Die("Trash: " + run.error().message);
      if (!run->stuck.empty()) Die("Trash: " + run->stuck);
      if (run->state != plugin::TrashState::kMore) return;
    }
  }

 private:
  plugin::Layout Layout() {
    const auto layout = plugin::OpenLayout(storage_, root_);
    if (!layout) Die(layout.error().error.message);
    return *layout;
  }
  plugin::NodeId IdOf(const std::string& name) {
    const auto found = storage_.Lookup(root_, name);
    if (!found) Die(found.error().error.message);
    return found->id;
  }

  const nfs::Credentials root_user_ = *nfs::Credentials::Sys(0, 0, {});
  const nfs::Server server_;
  nfs::SyncClient client_;
  nfs::NfsStorage storage_;
  nfs::NfsTree tree_;
  plugin::NodeId root_;
  int nonces_ = 0;
};

// --- rounds ---------------------------------------------------------------------------------

void Compare(const char* what, size_t files, double goal, const std::function<double(int)>& ours,
             const std::function<double(int)>& theirs) {
  std::vector<double> our_rate;
  std::vector<double> their_rate;
  std::vector<double> ratio;
  for (int round = 0; round < kRounds; ++round) {
    our_rate.push_back(static_cast<double>(files) / ours(round));
    their_rate.push_back(static_cast<double>(files) / theirs(round));
    ratio.push_back(our_rate.back() / their_rate.back());
  }
  std::printf("%s, %zu files, files a second: gantry %s\n", what, files, Spread(our_rate).c_str());
  std::printf("%*s                             libnfs %s\n", static_cast<int>(std::strlen(what)),
              "", Spread(their_rate).c_str());
  std::printf("ratio median %.2f (least %.2f, most %.2f)\n", Percentile(ratio, 0.5),
              Percentile(ratio, 0), Percentile(ratio, 1));
  Goal(what, Percentile(ratio, 0.5), ">=", goal, "");
  std::fflush(stdout);
}

void CompareCopies(const lab::Ganesha& server, const char* what, uint16_t port, size_t files,
                   double goal) {
  const fs::path root = server.root();
  const std::string source = "src" + std::to_string(port);
  MakeTree(root / source, files, kFileBytes);
  Ours ours(server, port);
  Bare bare(server, port);
  int copies = 0;
  const auto target = [&] {
    std::string name = "copy" + std::to_string(port) + "-" + std::to_string(++copies);
    fs::create_directory(root / name);
    return name;
  };
  Compare(
      what, files, goal,
      [&](int) {
        const std::string name = target();
        const double seconds = SecondsOf([&] { ours.CopyTree(source, name); });
        if (FilesIn(root / name) != files) Die("a copy is not complete");
        return seconds;
      },
      [&](int) {
        const std::string name = target();
        const double seconds = SecondsOf([&] { bare.CopyTree("/" + source, "/" + name); });
        if (FilesIn(root / name) != files) Die("a copy of libnfs' is not complete");
        return seconds;
      });
}

void CompareTrash(const lab::Ganesha& server, size_t files) {
  const fs::path root = server.root();
  Ours ours(server, server.port());
  Bare bare(server, server.port());
  Compare(
      "trash of a tree, of libnfs' unlinks", files, kTrashGoal,
      [&](int round) {
        const std::string name = "volume" + std::to_string(round);
        MakeTree(root / name, files, 0);
        ours.PutIntoTrash(name);
        const double seconds = SecondsOf([&] { ours.EmptyTrash(); });
        if (!fs::is_empty(root / ".gantry/trash")) Die("the trash is not empty");
        return seconds;
      },
      [&](int round) {
        const std::string name = "bare" + std::to_string(round);
        MakeTree(root / name, files, 0);
        const double seconds = SecondsOf([&] { bare.RemoveTree("/" + name); });
        if (fs::exists(root / name)) Die("the bare side has left something");
        return seconds;
      });
}

int Main() {
  auto server = lab::Ganesha::Start();
  if (!server) Die(server.error().message);
  CompareCopies(*server, "copy of a tree, of libnfs' sequential one", server->port(),
                Number("GANTRY_BENCH_COPY_FILES", 10'000), kNearGoal);
  const DelayRelay relay(server->port(), kOneWay);
  CompareCopies(*server, "the same with 1 ms each way", relay.port(),
                Number("GANTRY_BENCH_FAR_FILES", 1'000), kFarGoal);
  CompareTrash(*server, Number("GANTRY_BENCH_TRASH_FILES", 100'000));
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }
