// SPDX-License-Identifier: Apache-2.0
// `ls -l` of a large directory on an NFS volume, with nothing in the kernel's caches: what READDIRPLUS saves,
// beside the same mount to whose kernel it was not offered. The calls are counted on the wire.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "host/services/keeper_client.hpp"
#include "tests/bench/nfs_counter.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/integration/fuse_mount.hpp"
#include "tests/lab/ganesha.hpp"

namespace gantry::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kFiles = 10'000;
constexpr int kRounds = 3;
constexpr std::chrono::seconds kStartMax{20};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// Milliseconds.
double ListLong(const fs::path& path) {
  const auto begin = Clock::now();
  DIR* const directory = opendir(path.c_str());
  if (directory == nullptr) Die("opendir");
  int names = 0;
  while (const dirent* entry = readdir(directory)) {
    struct stat found {};
    if (fstatat(dirfd(directory), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) Die("stat");
    ++names;
  }
  closedir(directory);
  if (names != kFiles + 2) Die(std::to_string(names) + " names");
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

struct Side {
  const char* name;
  bool readdirplus;
  std::vector<double> ms = {};
  NfsCalls calls = {};  // of the last round
};

int Main() {
  const char* const build = std::getenv("GANTRY_BUILD_DIR");
  if (build == nullptr) Die("GANTRY_BUILD_DIR is not set");
  tests::EnterMountNamespace();
  auto server = lab::Ganesha::Start();
  if (!server) Die(server.error().message);
  fs::create_directory(server->root() / "large");
  for (int i = 0; i < kFiles; ++i)
    std::ofstream(server->root() / "large" / ("file-" + std::to_string(i))) << i;
  NfsCounter counter(server->port());
  const base::TempDir directory;
  services::KeeperClientOptions options;
  options.socket = directory.path() / "keeper.sock";
  options.keeper = fs::path(build) / "bin" / "gantry-keeper";
  options.worker = fs::path(build) / "tests" / "datapath_runner";
  services::KeeperClient client(options);
  Side with{"with READDIRPLUS", true}, without{"without", false};
  for (int round = 0; round < kRounds; ++round)
    for (Side* side : {&with, &without}) {
      const std::string volume = std::to_string(round) + side->name[4];
      // A mount of its own: its kernel knows nothing yet.
      tests::FuseMount mount(directory.path() / volume, {.readdirplus = side->readdirplus});
      services::DataPathSpec spec;
      spec.volume_id = volume;
      spec.backend = "nfs";
      spec.plugin = fs::path(build) / "lib" / "gantry" / "plugins" / "nfs.so";
      spec.config_json =
          R"({"shares": [{"server": "127.0.0.1", "share": ")" + server->export_path() + R"("}]})";
      spec.parameters = {{"server", "127.0.0.1"},
                         {"share", server->export_path()},
                         {"path", "large"},
                         {"port", std::to_string(counter.port())},
                         {"mountPort", std::to_string(server->mount_port())}};
      spec.fuse_fd = mount.TakeFd();
      const auto by = Clock::now() + kStartMax;
      if (const auto started = client.Start(std::move(spec), by); !started)
        Die(started.error().message);
      const NfsCalls before = counter.calls();
      side->ms.push_back(ListLong(mount.path()));
      side->calls = counter.calls() - before;
      mount.Unmount();
      if (const auto stopped = client.Stop(volume, Clock::now() + kStartMax); !stopped)
        Die(stopped.error().message);
    }
  for (const Side* side : {&with, &without}) {
    std::printf("%d files listed with their attributes, %s: %s ms; calls:", kFiles, side->name,
                Spread(side->ms).c_str());
    for (size_t i = 0; i < kProcedures; ++i)
      if (side->calls[i] > 0)
        std::printf(" %s %lld", kProcedureNames[i], static_cast<long long>(side->calls[i]));
    std::printf("\n");
  }
  Goal("without / with", Percentile(without.ms, 0.5) / Percentile(with.ms, 0.5), ">=", 2, "");
  std::ifstream lock(options.socket.string() + ".lock");
  pid_t keeper = 0;
  if (lock >> keeper) kill(keeper, SIGKILL);
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }
