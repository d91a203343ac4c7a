// SPDX-License-Identifier: Apache-2.0
// How many volumes a second are made and opened to a node: by gantry-target, against the bare tgtadm
// calls that set up the same target (new target, new LUN, its parameters, the initiator), each in a
// process of its own. One line a case; the last column is the ratio to the bare calls.
//
//   iscsi_target_bench [VOLUMES]
//
// Fails below kRatioMin, where each request is a process as the bare calls are.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "plugins/iscsi/target/service.hpp"
#include "tests/lab/tgt.hpp"

namespace {

using namespace gantry::iscsi;
using std::chrono::steady_clock;

constexpr int kVolumesDefault = 100;
constexpr double kRatioMin = 0.8;
constexpr std::chrono::milliseconds kDeadlineMs{20'000};

// Runs it with `input` on its stdin; true when it ended well and its output holds `expected`.
bool Run(const std::vector<std::string>& words, const std::string& input,
         const std::string& expected) {
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) return false;
  std::vector<char*> argv;
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = vfork();
  if (child == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  (void)!write(in[1], input.data(), input.size());
  close(in[1]);
  std::string output(65536, '\0');
  size_t size = 0;
  for (ssize_t n; (n = read(out[0], output.data() + size, output.size() - size)) > 0;)
    size += static_cast<size_t>(n);
  output.resize(size);
  close(out[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 && output.find(expected) != std::string::npos;
}

std::vector<std::string> Requests(const std::string& handle) {
  target::CreateVolume create;
  create.handle = handle;
  create.name = handle;
  create.required_bytes = uint64_t{1} << 30;
  target::PublishVolume publish;
  publish.handle = handle;
  publish.node_id = "node-a";
  publish.initiator = "iqn.2026-01.test:node-a";
  publish.single_node = true;
  return {target::EncodeRequest({"bench", kDeadlineMs}, create),
          target::EncodeRequest({"bench", kDeadlineMs}, publish)};
}

struct Bench {
  std::filesystem::path directory;
  gantry::lab::Tgt tgt;
  std::string program;
  std::string config_path;
  int volumes;
  double bare_rate[2] = {0, 0};  // of one client, of eight

  target::Config MakeConfig() const {
    target::Config config;
    config.store = directory / "store";
    config.iqn_prefix = "iqn.2026-01.test.bench";
    config.portals = {{"127.0.0.1", tgt.port()}};
    config.tgt.socket = directory / "tgt/socket.1";
    return config;
  }
  void Bare(int number) const {
    const std::string tid = std::to_string(number + 1);
    const std::string file = directory / ("bare/" + tid);
    const int fd = open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 1 << 30) != 0) throw std::runtime_error("no bare file");
    close(fd);
    const auto adm = [&](std::vector<std::string> words) {
      words.insert(words.begin(), {"/usr/sbin/tgtadm", "-C", "1", "--lld", "iscsi"});
      words.insert(words.end(), {"--tid", tid});
      if (!Run(words, "", "")) throw std::runtime_error("tgtadm failed");
    };
    adm({"--op", "new", "--mode", "target", "-T", "iqn.2026-01.test.bare:" + tid});
    adm({"--op", "new", "--mode", "logicalunit", "--lun", "1", "-b", file, "--bstype", "rdwr"});
    adm({"--op", "update", "--mode", "logicalunit", "--lun", "1", "--params",
         "scsi_sn=" + tid + ",scsi_id=" + tid + ",thin_provisioning=1"});
    adm({"--op", "bind", "--mode", "target", "-Q", "iqn.2026-01.test:node-a"});
  }
  double Measure(const char* what, int clients, double* bare,
                 const std::function<void(int, int)>& one) {
    std::atomic<int> next = 0;
    const auto begin = steady_clock::now();
    {
      std::vector<std::jthread> threads;
      for (int client = 0; client < clients; ++client)
        threads.emplace_back([&, client] {
          for (int i; (i = next++) < volumes;) one(i, client);
        });
    }
    const double rate =
        volumes / std::chrono::duration<double>(steady_clock::now() - begin).count();
    if (*bare == 0) *bare = rate;
    std::printf("%-44s %d clients %8.1f volumes/s  %5.2f\n", what, clients, rate, rate / *bare);
    return rate / *bare;
  }
  // The lowest ratio of a process a request.
  double All() {
    double ratio = 1e9;
    const std::string names[2] = {"a", "b"};
    const int clients[2] = {1, 8};
    for (int i = 0; i < 2; ++i) {
      Measure("tgtadm, 4 processes a volume, nothing kept", clients[i], &bare_rate[i],
              [&](int number, int) { Bare(number + i * volumes); });
      const double one = Measure(
          "gantry-target, a process a request", clients[i], &bare_rate[i], [&](int number, int) {
            for (const auto& line : Requests("p" + names[i] + std::to_string(number)))
              if (!Run({program, config_path}, line + "\n", "\"result\""))
                throw std::runtime_error("gantry-target failed");
          });
      ratio = std::min(ratio, one);
      std::vector<std::unique_ptr<target::Service>> services;
      for (int client = 0; client < clients[i]; ++client)
        services.push_back(*target::Service::Open(MakeConfig(), "bench"));
      Measure("gantry-target, kept (as over SSH)", clients[i], &bare_rate[i],
              [&](int number, int client) {
                for (const auto& line : Requests("k" + names[i] + std::to_string(number)))
                  if (services[static_cast<size_t>(client)]->Answer(line).find("\"result\"") ==
                      std::string::npos)
                    throw std::runtime_error("gantry-target failed");
              });
    }
    return ratio;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const gantry::base::TempDir temp;
  const auto directory = temp.path();
  auto tgt = gantry::lab::Tgt::Start({.directory = directory / "tgt"});
  if (!tgt) {
    std::fprintf(stderr, "%s\n", tgt.error().message.c_str());
    return 1;
  }
  std::filesystem::create_directory(directory / "bare");
  std::filesystem::create_directory(directory / "store");
  chmod((directory / "store").c_str(), 0700);
  setenv("TGT_IPC_SOCKET", (directory / "tgt/socket").c_str(), 1);
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  Bench bench{directory, std::move(*tgt),
              std::string(build != nullptr ? build : "build/dev") + "/bin/gantry-target",
              directory / "target.json", argc > 1 ? std::atoi(argv[1]) : kVolumesDefault};
  std::ofstream(bench.config_path)
      << R"({"kind": "tgt", "iqn_prefix": "iqn.2026-01.test.bench", "portals": ["127.0.0.1:)"
      << bench.tgt.port() << R"("], "store": ")" << (directory / "store").string()
      << R"(", "tgt": {"socket": ")" << (directory / "tgt/socket.1").string() << "\"}}";
  chmod(bench.config_path.c_str(), 0600);
  return bench.All() >= kRatioMin ? 0 : 1;
}
