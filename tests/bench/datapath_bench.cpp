// SPDX-License-Identifier: Apache-2.0
// What a userspace volume costs beyond its storage: 4 KiB latency, 1 MiB throughput and metadata
// through the FUSE server and the localfs plugin, beside the same on the directory itself, and the
// memory of the keeper and the data path. Needs root; takes a directory to work in.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "host/services/keeper_client.hpp"
#include "tests/integration/fuse_mount.hpp"

namespace {

using namespace gantry;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kSmall = 4096;
constexpr size_t kLarge = 1024 * 1024;
constexpr size_t kFileBytes = 64 * kLarge;
constexpr std::chrono::seconds kTime{2};  // of each measurement

struct Free {
  void operator()(char* p) const { free(p); }
};
using Buffer = std::unique_ptr<char, Free>;
Buffer MakeBuffer() {
  Buffer buffer(static_cast<char*>(aligned_alloc(kSmall, kLarge)));
  std::memset(buffer.get(), 'g', kLarge);
  return buffer;
}

// Calls `once` for kTime and prints what one call took.
void Latency(const char* what, const std::function<bool(uint64_t)>& once) {
  std::vector<double> us;
  const auto end = Clock::now() + kTime;
  for (uint64_t i = 0; Clock::now() < end; ++i) {
    const auto begin = Clock::now();
    if (!once(i)) {
      std::printf("  %-28s FAILED\n", what);
      return;
    }
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  std::sort(us.begin(), us.end());
  std::printf("  %-28s median %7.1f us  p99 %7.1f us  (%zu)\n", what, us[us.size() / 2],
              us[us.size() * 99 / 100], us.size());
}

void Throughput(const char* what, int threads, size_t bytes,
                const std::function<ssize_t(char*, uint64_t)>& once) {
  std::atomic<uint64_t> total = 0;
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < threads; ++t)
      running.emplace_back([&, t] {
        const Buffer buffer = MakeBuffer();
        const auto end = Clock::now() + kTime;
        for (uint64_t i = static_cast<uint64_t>(t); Clock::now() < end;
             i += static_cast<uint64_t>(threads)) {
          const auto offset = i * bytes % kFileBytes;
          if (once(buffer.get(), offset) != static_cast<ssize_t>(bytes)) return;
          total += bytes;
        }
      });
  }
  const double seconds = std::chrono::duration<double>(kTime).count();
  std::printf("  %-28s %8.1f MB/s  %8.0f IOPS\n", what, static_cast<double>(total) / 1e6 / seconds,
              static_cast<double>(total) / static_cast<double>(bytes) / seconds);
}

void Measure(const char* title, const fs::path& root) {
  std::printf("%s\n", title);
  const fs::path file = root / "bench";
  const base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
  const Buffer buffer = MakeBuffer();
  for (size_t at = 0; at < kFileBytes; at += kLarge)
    if (pwrite(fd.get(), buffer.get(), kLarge, static_cast<off_t>(at)) != ssize_t{kLarge}) return;
  const auto offset = [](uint64_t i) { return static_cast<off_t>(i * 7919 * kSmall % kFileBytes); };
  Latency("4k read, direct", [&](uint64_t i) {
    return pread(fd.get(), buffer.get(), kSmall, offset(i)) == ssize_t{kSmall};
  });
  Latency("4k write, direct", [&](uint64_t i) {
    return pwrite(fd.get(), buffer.get(), kSmall, offset(i)) == ssize_t{kSmall};
  });
  Latency("create, close, unlink", [&](uint64_t) {
    const fs::path name = root / "made";
    const base::UniqueFd made(open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    return made && unlink(name.c_str()) == 0;
  });
  const auto read = [&](size_t bytes) {
    return [&, bytes](char* to, uint64_t at) {
      return pread(fd.get(), to, bytes, static_cast<off_t>(at));
    };
  };
  const auto write = [&](size_t bytes) {
    return [&, bytes](char* from, uint64_t at) {
      return pwrite(fd.get(), from, bytes, static_cast<off_t>(at));
    };
  };
  Throughput("4k read, 16 threads", 16, kSmall, read(kSmall));
  Throughput("4k write, 16 threads", 16, kSmall, write(kSmall));
  Throughput("1M read, 4 threads", 4, kLarge, read(kLarge));
  Throughput("1M write, 4 threads", 4, kLarge, write(kLarge));
  unlink(file.c_str());
}

void Memory(const char* what, pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS") || line.starts_with("RssAnon") || line.starts_with("RssShmem"))
      std::printf("  %s %s\n", what, line.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  if (argc > 2 || build == nullptr) {
    std::fprintf(stderr, "GANTRY_BUILD_DIR=... datapath_bench [DIRECTORY]\n");
    return 2;
  }
  tests::EnterMountNamespace();
  const base::TempDir temporary;
  const fs::path directory =
      (argc == 2 ? fs::path(argv[1]) : temporary.path()) / "gantry-datapath-bench";
  const fs::path backing = directory / "backing";
  fs::create_directories(backing);
  int result = 0;
  {
    services::KeeperClientOptions options;
    options.socket = directory / "keeper.sock";
    options.keeper = fs::path(build) / "bin" / "gantry-keeper";
    options.worker = fs::path(build) / "tests" / "datapath_runner";
    services::KeeperClient client(options);
    tests::FuseMount mount(directory / "volume");
    services::DataPathSpec spec;
    spec.volume_id = "bench";
    spec.backend = "local";
    spec.plugin = fs::path(build) / "lib" / "gantry" / "plugins" / "localfs.so";
    spec.parameters["directory"] = backing.string();
    spec.fuse_fd = mount.TakeFd();
    const auto begun = Clock::now();
    if (const auto started = client.Start(std::move(spec), begun + std::chrono::seconds(10));
        !started) {
      std::fprintf(stderr, "%s\n", started.error().message.c_str());
      result = 1;
    } else {
      std::printf("start to serving %.1f ms\n",
                  std::chrono::duration<double, std::milli>(Clock::now() - begun).count());
      Measure("through the data path", mount.path());
      Measure("the directory itself", backing);
      const auto states = client.List(Clock::now() + std::chrono::seconds(5));
      if (states && !states->empty()) Memory("data path", states->front().pid);
      pid_t keeper = 0;
      std::ifstream(options.socket.string() + ".lock") >> keeper;
      Memory("keeper   ", keeper);
      mount.Unmount();
      (void)client.Stop("bench", Clock::now() + std::chrono::seconds(5));
      if (keeper > 0) kill(keeper, SIGKILL);
    }
  }
  fs::remove_all(directory);
  return result;
}
