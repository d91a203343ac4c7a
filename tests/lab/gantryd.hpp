// SPDX-License-Identifier: Apache-2.0
// A real gantryd in a directory of its own, for tests and benchmarks: started from a configuration,
// killed, restarted, and gone with all it started at the end.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/lab/sanitizer_report.hpp"

namespace gantry::lab {

struct GantrydOptions {
  std::string backends;         // YAML under `backends:`, indented by two
  std::string driver_backends;  // "[a, b]"
  std::string role = "all";
  std::string node_id = "node-1";
  std::filesystem::path plugin_directory;  // default: the build's
  std::string log_level = "debug";
  bool is_pid_one = false;  // in a pid namespace of its own, below unshare(1), which pid() names
  std::filesystem::path directory;  // its own, there already; empty: a temporary one
  std::filesystem::path kubelet;    // default: one in directory()
  // Words before gantryd's command line, the first a program's path: it runs gantryd, writes its pid
  // to `pid_file`, which pid() then reads, and ends after it. Empty: gantryd is started itself.
  std::vector<std::string> launcher;
  std::filesystem::path pid_file;
  std::string trust = "any";                // YAML after `trust:`
  std::string top;                          // more YAML of the top level, each line ended
  Segfaults segfaults = Segfaults::kCount;  // of its plugins, under a sanitizer
};

// Not thread-safe, but for the stubs' channels.
class Gantryd {
 public:
  // Starts it and waits until it serves.
  static base::Result<std::unique_ptr<Gantryd>> Start(GantrydOptions options);
  // Ends the test program when a sanitizer has spoken in gantryd or in what it started.
  ~Gantryd();

  base::Status Kill(int signal_number);  // and waits until it is gone
  base::Status Restart();                // in the same directory
  // From where gantryd and its programs are taken at the next start; default: the build's bin.
  void TakeFrom(std::filesystem::path programs) { programs_ = std::move(programs); }
  // Sends SIGTERM and waits; how it ended.
  base::Result<base::ExitStatus> Terminate();

  pid_t pid() const;
  // Pids of its gantry-worker processes, by their command line's backend.
  std::vector<pid_t> WorkerPids(const std::string& backend) const;
  const std::filesystem::path& directory() const {
    return temporary_ ? temporary_->path() : options_.directory;
  }
  std::filesystem::path kubelet() const {
    return options_.kubelet.empty() ? directory() / "kubelet" : options_.kubelet;
  }
  std::string endpoint() const { return "unix:" + (directory() / "csi.sock").string(); }
  std::string Log() const;

  // A new connection.
  std::shared_ptr<grpc::Channel> Connect() const;

 private:
  explicit Gantryd(GantrydOptions options) : options_(std::move(options)) {}
  base::Status Launch();
  base::Status Signal(int signal_number) const;

  const GantrydOptions options_;
  std::filesystem::path programs_;
  std::unique_ptr<base::TempDir> temporary_;
  base::Child child_;
};

// A context with a deadline.
std::unique_ptr<grpc::ClientContext> Within(std::chrono::milliseconds timeout);

}  // namespace gantry::lab
