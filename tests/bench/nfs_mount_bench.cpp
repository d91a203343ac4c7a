// SPDX-License-Identifier: Apache-2.0
// A pod's NFS volume in user space, through gantryd, keeper, data path and FUSE, against the same work
// done by libnfs without anything around it, on the same server; and what a volume's process takes.
//
// The bare side is what libnfs does best: one context with many calls in flight for random reads, a
// context a thread for small files. Its writes are committed once at the end, a pod's are stable one by
// one, since nobody may lose what a successor cannot write again.
#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <sstream>
#include <thread>

#include "host/base/fd.hpp"
#include "tests/bench/nfs_counter.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/integration/fuse_mount.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival_load.hpp"

namespace gantry::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr int kReadsOfAFile = 4;  // the first one finds a connection that is not used to it
constexpr size_t kFileBytes = 128 << 20;
constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kBlockBytes = 4096;
constexpr int kAppends = 1000;
constexpr int kDepth = 32;
constexpr int kReadsOfARound = 20'000;
constexpr int kClients = 16;
constexpr int kFilesOfAClient = 40;
constexpr int kBareCallMsMax = 10'000;
constexpr int kPollMsMax = 1'000;
constexpr std::chrono::seconds kFioMax{60};
constexpr double kMiB = 1 << 20;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}
void Need(bool ok, const std::string& what) {
  if (!ok) Die(what + ": " + std::string(std::strerror(errno)));
}

double SecondsOf(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// --- bare libnfs ----------------------------------------------------------------------------

class Bare {
 public:
  Bare(const lab::Ganesha& server, const std::string& directory)
      : Bare(server, directory, server.port()) {}
  Bare(const lab::Ganesha& server, const std::string& directory, uint16_t port)
      : nfs_(nfs_init_context()) {
    const std::string text = "nfs://127.0.0.1" + server.export_path() + "/" + directory +
                             "?version=3&nfsport=" + std::to_string(port) +
                             "&mountport=" + std::to_string(server.mount_port());
    nfs_url* url = nfs_parse_url_dir(nfs_, text.c_str());
    if (url == nullptr) Die(nfs_get_error(nfs_));
    nfs_set_timeout(nfs_, kBareCallMsMax);
    nfs_set_uid(nfs_, 0);
    nfs_set_gid(nfs_, 0);
    Check(nfs_mount(nfs_, url->server, url->path), "mount");
    nfs_destroy_url(url);
  }
  Bare(const Bare&) = delete;
  ~Bare() { nfs_destroy_context(nfs_); }

  void WriteFile(const std::string& name) {
    nfsfh* file = Open(name, O_WRONLY | O_CREAT);
    std::string piece(kPieceBytes, 'w');
    for (size_t at = 0; at < kFileBytes; at += kPieceBytes)
      Check(nfs_pwrite(nfs_, file, at, kPieceBytes, piece.data()), "write");
    Check(nfs_fsync(nfs_, file), "fsync");
    Check(nfs_close(nfs_, file), "close");
  }
  void ReadFile(const std::string& name) {
    nfsfh* file = Open(name, O_RDONLY);
    std::string piece(kPieceBytes, '\0');
    for (size_t at = 0; at < kFileBytes; at += kPieceBytes)
      Check(nfs_pread(nfs_, file, at, kPieceBytes, piece.data()), "read");
    Check(nfs_close(nfs_, file), "close");
  }
  // kReadsOfARound of them, kDepth in flight.
  void ReadRandomly(const std::string& name) {
    nfsfh* file = Open(name, O_RDONLY);
    Reads reads{this, file, 0, 0, std::mt19937_64(1)};
    for (int i = 0; i < kDepth; ++i) AskOne(reads);
    while (reads.ended < kReadsOfARound) {
      pollfd wait{nfs_get_fd(nfs_), static_cast<short>(nfs_which_events(nfs_)), 0};
      if (poll(&wait, 1, kPollMsMax) < 0 || nfs_service(nfs_, wait.revents) < 0)
        Die(nfs_get_error(nfs_));
    }
    Check(nfs_close(nfs_, file), "close");
  }
  void MakeSmallFile(const std::string& name) {
    nfsfh* file = nullptr;
    Check(nfs_creat(nfs_, name.c_str(), 0644, &file), "creat");
    std::string block(kBlockBytes, 's');
    Check(nfs_pwrite(nfs_, file, 0, kBlockBytes, block.data()), "write");
    Check(nfs_close(nfs_, file), "close");
  }

 private:
  struct Reads {
    Bare* self;
    nfsfh* file;
    int asked;
    int ended;
    std::mt19937_64 random;
  };

  void AskOne(Reads& reads) {
    if (reads.asked == kReadsOfARound) return;
    ++reads.asked;
    const uint64_t at = reads.random() % (kFileBytes / kBlockBytes) * kBlockBytes;
    const auto done = [](int result, nfs_context*, void*, void* arg) {
      auto& ended = *static_cast<Reads*>(arg);
      if (result != static_cast<int>(kBlockBytes)) Die("bare: a short read");
      ++ended.ended;
      ended.self->AskOne(ended);
    };
    Check(nfs_pread_async(nfs_, reads.file, at, kBlockBytes, done, &reads), "read");
  }
  nfsfh* Open(const std::string& name, int flags) {
    nfsfh* file = nullptr;
    Check(nfs_open2(nfs_, ("/" + name).c_str(), flags, 0644, &file), "open");
    return file;
  }
  void Check(int result, const char* what) {
    if (result < 0) Die(std::string("bare: ") + what + ": " + nfs_get_error(nfs_));
  }

  nfs_context* const nfs_;
};

// --- the mount ------------------------------------------------------------------------------

void WriteFile(const fs::path& path) {
  const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  Need(bool(file), "open");
  const std::string piece(kPieceBytes, 'w');
  for (size_t at = 0; at < kFileBytes; at += kPieceBytes)
    Need(write(file.get(), piece.data(), piece.size()) == ssize_t{kPieceBytes}, "write");
  Need(fsync(file.get()) == 0, "fsync");
}

// Each open drops what was cached.
void ReadFile(const fs::path& path) {
  const base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Need(bool(file), "open");
  std::string piece(kPieceBytes, '\0');
  for (size_t at = 0; at < kFileBytes;) {
    const ssize_t length = read(file.get(), piece.data(), piece.size());
    Need(length > 0, "read");
    at += static_cast<size_t>(length);
  }
}

// IOPS by fio, in libaio as a database would.
double ReadRandomly(const fs::path& path, const fs::path& output) {
  const std::string error = tests::RunProgram(
      {"fio", "--name=random", "--filename=" + path.string(), "--rw=randread", "--bs=4k",
       "--size=" + std::to_string(kFileBytes),
       "--io_size=" + std::to_string(kReadsOfARound * kBlockBytes),
       "--iodepth=" + std::to_string(kDepth), "--ioengine=libaio", "--direct=1", "--thread",
       "--clocksource=clock_gettime", "--output-format=terse", "--terse-version=3"},
      output, kFioMax);
  if (!error.empty()) Die(error);
  constexpr int kReadIopsField = 7;  // HOWTO, terse output: from 0
  std::ifstream file(output);
  std::string field;
  for (int i = 0; i <= kReadIopsField; ++i) std::getline(file, field, ';');
  return std::stod(field);
}

void MakeSmallFile(const fs::path& path) {
  const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  Need(bool(file), "create");
  const std::string block(kBlockBytes, 's');
  Need(write(file.get(), block.data(), block.size()) == ssize_t{kBlockBytes}, "write");
}

// As a log is written.
double AppendsASecond(const fs::path& path) {
  const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  Need(bool(file), "create");
  const std::string block(kBlockBytes, 'a');
  return kAppends / SecondsOf([&] {
           for (int i = 0; i < kAppends; ++i)
             Need(write(file.get(), block.data(), block.size()) == ssize_t{kBlockBytes}, "append");
         });
}

double FilesASecond(const std::function<void(int client, int number)>& make) {
  const double seconds = SecondsOf([&] {
    std::vector<std::jthread> clients;
    for (int client = 0; client < kClients; ++client)
      clients.emplace_back([&, client] {
        for (int number = 0; number < kFilesOfAClient; ++number) make(client, number);
      });
  });
  return kClients * kFilesOfAClient / seconds;
}

// What one small file costs at the server, counted on the wire, one file after the other.
void PrintCallsOfASmallFile() {
  constexpr int kFiles = 200;
  auto server = lab::Ganesha::Start();
  if (!server) Die(server.error().message);
  NfsCounter counter(server->port());
  tests::NfsNodeOptions options;
  options.own_server = false;
  options.shares = {"{server: 127.0.0.1, share: " + server->export_path() +
                    ", port: " + std::to_string(counter.port()) +
                    ", mountPort: " + std::to_string(server->mount_port()) + "}"};
  tests::NfsNode node(options);
  const tests::Volume volume = node.Run("counted", tests::Mode::SINGLE_NODE_WRITER);
  Bare bare(*server, "counted", counter.port());
  for (const char* side : {"mount", "bare"}) {
    const fs::path directory = volume.target / side;
    fs::create_directory(directory);
    const NfsCalls before = counter.calls();
    for (int number = 0; number < kFiles; ++number) {
      const std::string name = std::to_string(number);
      if (side == std::string("mount"))
        MakeSmallFile(directory / name);
      else
        bare.MakeSmallFile("/bare/" + name);
    }
    const NfsCalls calls = counter.calls() - before;
    std::printf("calls of a small file, %s:", side);
    for (size_t i = 0; i < kProcedures; ++i)
      if (calls[i] > 0)
        std::printf(" %s %.2f", kProcedureNames[i], static_cast<double>(calls[i]) / kFiles);
    std::printf("\n");
  }
  if (!node.End(volume).ok()) Die("the counted volume could not be taken down");
}

// All that the process has in memory, what it shares with its keeper and what is locked too.
double MemoryMiB(pid_t pid) { return std::stod(tests::StatusOf(pid, "VmRSS")) / 1024; }

struct Ratio {
  std::vector<double> mount;
  std::vector<double> bare;

  void Print(const char* what, const char* unit, double goal) const {
    if (mount.empty()) return;
    std::printf("%s, %s: mount %s, bare libnfs %s\n", what, unit, Spread(mount).c_str(),
                Spread(bare).c_str());
    Goal("  mount / bare", Percentile(mount, 0.5) / Percentile(bare, 0.5), ">=", goal, "");
  }
};

// `only`: write, read, random or small; empty: all.
int Main(const std::string& only) {
  const auto wanted = [&](std::string_view what) { return only.empty() || only == what; };
  tests::EnterMountNamespace();
  tests::NfsNode node;
  const tests::Volume volume = node.Run("bench", tests::Mode::SINGLE_NODE_WRITER);
  const pid_t data_path = node.DataPathPids().at(0);
  const tests::Volume kept =
      node.Run("kept", tests::Mode::SINGLE_NODE_WRITER, {{"uncommittedWrites", "true"}});
  const std::vector<pid_t> both = node.DataPathPids();
  const pid_t kept_path = both.at(both.at(0) == data_path ? 1 : 0);
  const double rest = MemoryMiB(data_path);
  const fs::path root = volume.target;
  const fs::path output = node.host().directory() / "fio.out";
  Ratio write, read, random, small;
  std::vector<double> kept_write, kept_small, append, kept_append;
  const double file_mib = kFileBytes / kMiB;
  for (int round = 0; round < kRounds; ++round) {
    Bare bare(node.server(), "bench");
    const std::string mount_file = "mount-" + std::to_string(round);
    const std::string bare_file = "bare-" + std::to_string(round);
    if (wanted("write") || wanted("read") || wanted("random")) {
      write.mount.push_back(file_mib / SecondsOf([&] { WriteFile(root / mount_file); }));
      write.bare.push_back(file_mib / SecondsOf([&] { bare.WriteFile(bare_file); }));
    }
    if (wanted("write")) {
      kept_write.push_back(file_mib / SecondsOf([&] { WriteFile(kept.target / mount_file); }));
      append.push_back(AppendsASecond(root / ("append-" + std::to_string(round))));
      kept_append.push_back(AppendsASecond(kept.target / ("append-" + std::to_string(round))));
    }
    for (int again = 0; wanted("read") && again < kReadsOfAFile; ++again) {
      read.mount.push_back(file_mib / SecondsOf([&] { ReadFile(root / mount_file); }));
      read.bare.push_back(file_mib / SecondsOf([&] { bare.ReadFile(bare_file); }));
    }
    if (wanted("random")) {
      random.mount.push_back(ReadRandomly(root / mount_file, output));
      random.bare.push_back(kReadsOfARound / SecondsOf([&] { bare.ReadRandomly(bare_file); }));
    }
    if (!wanted("small")) continue;
    for (const char* side : {"small-mount-", "small-bare-"})
      fs::create_directory(root / (side + std::to_string(round)));
    small.mount.push_back(FilesASecond([&](int client, int number) {
      MakeSmallFile(root / ("small-mount-" + std::to_string(round)) /
                    (std::to_string(client) + "-" + std::to_string(number)));
    }));
    const fs::path kept_small_files = kept.target / ("small-" + std::to_string(round));
    fs::create_directory(kept_small_files);
    kept_small.push_back(FilesASecond([&](int client, int number) {
      MakeSmallFile(kept_small_files / (std::to_string(client) + "-" + std::to_string(number)));
    }));
    std::vector<std::unique_ptr<Bare>> contexts;
    for (int i = 0; i < kClients; ++i)
      contexts.push_back(std::make_unique<Bare>(node.server(), "bench"));
    small.bare.push_back(FilesASecond([&](int client, int number) {
      contexts[static_cast<size_t>(client)]->MakeSmallFile("/small-bare-" + std::to_string(round) +
                                                           "/" + std::to_string(client) + "-" +
                                                           std::to_string(number));
    }));
  }
  write.Print("sequential write, 1 MiB a call", "MiB/s", 0.7);
  if (!kept_write.empty())
    std::printf(
        "  with uncommittedWrites: %s MiB/s\n"
        "appends of 4 KiB, each a second: %s\n"
        "  with uncommittedWrites: %s\n",
        Spread(kept_write).c_str(), Spread(append).c_str(), Spread(kept_append).c_str());
  read.Print("sequential read", "MiB/s", 0.7);
  random.Print("random 4 KiB reads, 32 in flight", "IOPS", 0.5);
  small.Print("small files made by 16 threads", "files/s", 0.6);
  if (!kept_small.empty())
    std::printf("  with uncommittedWrites: %s files/s\n", Spread(kept_small).c_str());
  if (wanted("small")) PrintCallsOfASmallFile();
  Goal("memory of a data path at rest", rest, "<=", 16, "MiB");
  if (only.empty()) {
    Goal("memory of it after 1 GiB", MemoryMiB(data_path), "<=", 80, "MiB");
    Goal("memory of one with uncommittedWrites, after its part", MemoryMiB(kept_path), "<=", 80,
         "MiB");
  }
  if (!node.End(volume).ok() || !node.End(kept).ok()) Die("the volume could not be taken down");
  return 0;
}

}  // namespace
}  // namespace gantry::bench

// One of write, read, random, small measures that alone, as for a profiler.
int main(int count, char** arguments) { return gantry::bench::Main(count > 1 ? arguments[1] : ""); }
