// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/ceph.hpp"

#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <sstream>
#include <utility>

#include "tests/lab/tool.hpp"

namespace gantry::lab {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using base::Status;

// Above the sum of the tool's own deadlines, so that its message arrives instead of ours.
constexpr std::chrono::milliseconds kToolMsMax{120000};
constexpr std::array kDaemons = {CephDaemon::kMon, CephDaemon::kMgr, CephDaemon::kOsd,
                                 CephDaemon::kMds, CephDaemon::kStandby};

Result<std::string> RunTool(const std::vector<std::string>& arguments,
                            const std::vector<std::string>& more_environment = {}) {
  return RunLabTool("ceph", arguments, kToolMsMax, more_environment);
}

Result<std::string> Fact(const std::string& facts, const std::string& name) {
  std::istringstream lines(facts);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + "=")) continue;
    std::string value;
    for (const char c : line.substr(name.size() + 1))
      if (c != '\\') value += c;
    return value;
  }
  return Fail(Code::kInternal, "tests/lab/ceph gave no " + name);
}

const char* UpperName(CephDaemon daemon) {
  switch (daemon) {
    case CephDaemon::kMon:
      return "MON";
    case CephDaemon::kMgr:
      return "MGR";
    case CephDaemon::kOsd:
      return "OSD";
    case CephDaemon::kMds:
      return "MDS";
    case CephDaemon::kStandby:
      return "STANDBY";
  }
  return "";
}

}  // namespace

std::string_view NameOf(CephDaemon daemon) {
  switch (daemon) {
    case CephDaemon::kMon:
      return "mon";
    case CephDaemon::kMgr:
      return "mgr";
    case CephDaemon::kOsd:
      return "osd";
    case CephDaemon::kMds:
      return "mds";
    case CephDaemon::kStandby:
      return "standby";
  }
  return "";
}

Result<Ceph> Ceph::Start(CephOptions options) {
  Ceph cluster;
  if (options.directory.empty()) {
    cluster.temporary_ = std::make_unique<base::TempDir>();
    options.directory = cluster.temporary_->path();
  }
  cluster.directory_ = options.directory;
  GANTRY_TRY_ASSIGN(const std::string facts,
                    RunTool({"start", "--dir", cluster.directory_.string(), "--address",
                             options.address, "--bytes", std::to_string(options.osd_bytes),
                             "--store", options.keeps_data ? "bluestore" : "memstore", "--mds-tick",
                             options.mds_tick_seconds, "--owner", std::to_string(getpid())},
                            options.time_zone.empty() ? std::vector<std::string>()
                                                      : std::vector{"TZ=" + options.time_zone}));
  GANTRY_TRY(cluster.TakeFacts(facts));
  return cluster;
}

Result<Ceph> Ceph::Adopt(std::filesystem::path directory) {
  Ceph cluster;
  cluster.adopted_ = true;
  cluster.directory_ = std::move(directory);
  GANTRY_TRY_ASSIGN(const std::string facts,
                    RunTool({"facts", "--dir", cluster.directory_.string()}));
  GANTRY_TRY(cluster.TakeFacts(facts));
  return cluster;
}

Ceph::Ceph(Ceph&& other) noexcept
    : temporary_(std::move(other.temporary_)),
      directory_(std::exchange(other.directory_, {})),
      adopted_(other.adopted_),
      monitor_(std::move(other.monitor_)),
      fsid_(std::move(other.fsid_)),
      filesystem_(std::move(other.filesystem_)),
      admin_key_(std::move(other.admin_key_)),
      pids_(std::move(other.pids_)) {}

Ceph& Ceph::operator=(Ceph&& other) noexcept {
  if (this != &other) {
    const Ceph old(std::move(*this));
    temporary_ = std::move(other.temporary_);
    directory_ = std::exchange(other.directory_, {});
    adopted_ = other.adopted_;
    monitor_ = std::move(other.monitor_);
    fsid_ = std::move(other.fsid_);
    filesystem_ = std::move(other.filesystem_);
    admin_key_ = std::move(other.admin_key_);
    pids_ = std::move(other.pids_);
  }
  return *this;
}

Ceph::~Ceph() {
  if (!directory_.empty() && !adopted_) (void)Stop();
}

Status Ceph::TakeFacts(const std::string& facts) {
  GANTRY_TRY_ASSIGN(monitor_, Fact(facts, "CEPH_MON"));
  GANTRY_TRY_ASSIGN(fsid_, Fact(facts, "CEPH_FSID"));
  GANTRY_TRY_ASSIGN(filesystem_, Fact(facts, "CEPH_FS"));
  GANTRY_TRY_ASSIGN(admin_key_, Fact(facts, "CEPH_KEY"));
  for (const CephDaemon daemon : kDaemons) {
    const std::string name = "CEPH_" + std::string(UpperName(daemon)) + "_PID";
    GANTRY_TRY_ASSIGN(const std::string text, Fact(facts, name));
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), pids_[daemon]);
    if (error != std::errc{} || end != text.data() + text.size())
      return Fail(Code::kInternal, "tests/lab/ceph gave a bad " + name + ": " + text);
  }
  return {};
}

Status Ceph::Run(const std::vector<std::string>& verb) {
  std::vector<std::string> arguments = verb;
  arguments.insert(arguments.end(), {"--dir", directory_.string()});
  GANTRY_TRY(RunTool(arguments));
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool({"facts", "--dir", directory_.string()}));
  return TakeFacts(facts);
}

Status Ceph::Freeze(CephDaemon daemon) { return StopProcess(pid(daemon)); }
Status Ceph::Thaw(CephDaemon daemon) { return ContinueProcess(pid(daemon)); }
Status Ceph::Kill(CephDaemon daemon) { return Run({"kill", std::string(NameOf(daemon))}); }
Status Ceph::Restart(CephDaemon daemon) { return Run({"restart", std::string(NameOf(daemon))}); }
Status Ceph::Wait() { return Run({"wait"}); }
// Asks for no facts: a start that failed has left none.
Status Ceph::Stop() {
  GANTRY_TRY(RunTool({"stop", "--dir", directory_.string()}));
  for (auto& [daemon, pid] : pids_) pid = 0;
  return {};
}

Result<std::string> Ceph::Cli(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"cli", "--dir", directory_.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return RunTool(all);
}

Result<std::string> Ceph::NewKey(const std::string& user,
                                 const std::vector<std::string>& capabilities) {
  std::vector<std::string> arguments = {"auth", "get-or-create-key", "client." + user};
  arguments.insert(arguments.end(), capabilities.begin(), capabilities.end());
  GANTRY_TRY_ASSIGN(std::string key, Cli(arguments));
  while (!key.empty() && key.back() == '\n') key.pop_back();
  return key;
}

}  // namespace gantry::lab
