// SPDX-License-Identifier: Apache-2.0
// What a userspace disk costs beyond its storage: fio on a loop device over the FUSE server and the
// filedisk plugin, beside fio on the same file itself, in one run; and how much time of a processor
// the data path takes for a request, which is what a target has to share the machine with. Needs
// root and fio; takes a directory to work in.
//
// The file lies in the page cache or on tmpfs, so there is no device to wait for: the ratios are
// those of the worst case. Against a target over a network a request costs the data path as much
// and the target many times that.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "host/base/file.hpp"
#include "host/services/keeper_client.hpp"
#include "tests/integration/fuse_mount.hpp"
#include "tests/integration/loop_device.hpp"

namespace {

using namespace gantry;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kFileBytes = 512 * 1024 * 1024;
constexpr int kSeconds = 3;  // of each measurement

struct Work {
  const char* name;
  const char* rw;
  const char* block;
  int depth;
};
constexpr Work kWorks[] = {{"128k reads, depth 8", "read", "128k", 8},
                           {"4k random reads, depth 32", "randread", "4k", 32},
                           {"4k random writes, depth 32", "randwrite", "4k", 32},
                           {"1M writes, depth 8", "write", "1m", 8},
                           {"4k random reads, depth 1", "randread", "4k", 1}};

struct Measured {
  double iops = 0;
  double mib_s = 0;
  double path_us = 0;  // of a processor, in the data path, for each request of fio's
};

double ProcessorSeconds(pid_t pid) {
  const auto text = base::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text || pid <= 0) return 0;
  unsigned long user = 0;
  unsigned long system = 0;
  std::sscanf(text->c_str() + text->rfind(')') + 2,
              "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// `direct`: the loop device; the file itself goes through the page cache, which is its storage.
Measured Fio(const Work& work, const fs::path& target, bool direct, pid_t path,
             const fs::path& report) {
  const std::string command =
      "fio --name=b --filename=" + target.string() + " --rw=" + work.rw + " --bs=" + work.block +
      " --iodepth=" + std::to_string(work.depth) + " --ioengine=" + (direct ? "libaio" : "psync") +
      " --direct=" + (direct ? "1" : "0") + " --size=" + std::to_string(kFileBytes) +
      " --time_based --runtime=" + std::to_string(kSeconds) +
      " --norandommap --output-format=json --output=" + report.string();
  const double before = ProcessorSeconds(path);
  if (std::system(command.c_str()) != 0) return {};
  const double used = ProcessorSeconds(path) - before;
  const auto text = base::ReadFile(report, 1 << 20);
  if (!text) return {};
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (json.is_discarded()) return {};
  const auto& side = json["jobs"][0][std::string(work.rw).ends_with("read") ? "read" : "write"];
  Measured m;
  m.iops = side["iops"].get<double>();
  m.mib_s = side["bw_bytes"].get<double>() / (1024 * 1024);
  m.path_us = used * 1e6 / side["total_ios"].get<double>();
  return m;
}

bool Measure(const fs::path& device, const fs::path& file, pid_t path) {
  const fs::path report = file.parent_path() / "fio.json";
  bool whole = true;
  std::printf("%-28s %10s %10s %12s %10s %7s\n", "", "IOPS", "MiB/s", "path us/op", "file IOPS",
              "ratio");
  for (const Work& work : kWorks) {
    const Measured through = Fio(work, device, true, path, report);
    const Measured itself = Fio(work, file, false, 0, report);
    std::printf("%-28s %10.0f %10.1f %12.1f %10.0f %6.1f%%\n", work.name, through.iops,
                through.mib_s, through.path_us, itself.iops, 100 * through.iops / itself.iops);
    whole = whole && through.iops > 0 && itself.iops > 0;
  }
  return whole;
}

}  // namespace

int main(int argc, char** argv) {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  if (argc > 2 || build == nullptr) {
    std::fprintf(stderr, "GANTRY_BUILD_DIR=... disk_bench [DIRECTORY]\n");
    return 2;
  }
  tests::EnterMountNamespace();
  const fs::path directory = fs::path(argc == 2 ? argv[1] : "/dev/shm") / "gantry-disk-bench";
  const fs::path file = directory / "file";
  fs::create_directories(directory);
  std::ofstream(file).close();
  fs::resize_file(file, kFileBytes);
  int result = 1;
  services::KeeperClientOptions options;
  options.socket = directory / "keeper.sock";
  options.keeper = fs::path(build) / "bin" / "gantry-keeper";
  options.worker = fs::path(build) / "tests" / "datapath_runner";
  services::KeeperClient client(options);
  {
    tests::FuseMount mount(directory / "volume");
    services::DataPathSpec spec;
    spec.volume_id = "bench";
    spec.backend = "file";
    spec.plugin = fs::path(build) / "lib" / "gantry" / "plugins" / "filedisk.so";
    spec.parameters["file"] = file.string();
    spec.disk = true;
    spec.size_bytes = kFileBytes;
    spec.fuse_fd = mount.TakeFd();
    const auto started = client.Start(std::move(spec), Clock::now() + std::chrono::seconds(10));
    if (!started) {
      std::fprintf(stderr, "%s\n", started.error().message.c_str());
    } else {
      const auto states = client.List(Clock::now() + std::chrono::seconds(5));
      const tests::LoopDevice loop(mount.path() / "disk");
      // Every block is there, so that both sides read and overwrite what exists.
      const std::string fill = "dd if=/dev/urandom bs=1M status=none conv=notrunc count=" +
                               std::to_string(kFileBytes >> 20) + " of=" + file.string();
      if (states && !states->empty() && std::system(fill.c_str()) == 0)
        result = Measure(loop.path(), file, states->front().pid) ? 0 : 1;
    }
  }
  (void)client.Stop("bench", Clock::now() + std::chrono::seconds(5));
  pid_t keeper = 0;
  std::ifstream(options.socket.string() + ".lock") >> keeper;
  if (keeper > 0) kill(keeper, SIGKILL);
  fs::remove_all(directory);
  return result;
}
