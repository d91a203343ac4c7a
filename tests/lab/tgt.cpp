// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/tgt.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <sstream>
#include <string_view>
#include <utility>

#include "host/base/fd.hpp"
#include "tests/lab/tool.hpp"

namespace gantry::lab {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using base::Status;

// Above the sum of the tool's own deadlines, so that its message arrives instead of ours.
constexpr std::chrono::milliseconds kToolMsMax{60000};

// tgtd refuses to delete a LUN while a command runs there.
constexpr int kBusyTriesMax = 200;

Result<std::string> RunTool(const std::vector<std::string>& arguments) {
  return RunLabTool("tgt", arguments, kToolMsMax);
}

Result<std::string> Fact(const std::string& facts, std::string_view name) {
  std::istringstream lines(facts);
  const std::string key = std::string(name) + "=";
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    std::string value;
    for (const char c : line.substr(key.size()))
      if (c != '\\') value += c;
    return value;
  }
  return Fail(Code::kInternal, "tests/lab/tgt gave no " + std::string(name));
}

template <class Number>
Status TakeNumber(const std::string& facts, std::string_view name, Number* number) {
  GANTRY_TRY_ASSIGN(const std::string value, Fact(facts, name));
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
  if (error != std::errc{} || end != value.data() + value.size())
    return Fail(Code::kInternal, "tests/lab/tgt gave a bad " + std::string(name) + ": " + value);
  return {};
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::string Joined(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ",") + item;
  return text;
}

std::vector<std::string> OfTarget(const char* op, const char* mode, int tid,
                                  std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"--op", op, "--mode", mode, "--tid", std::to_string(tid)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Status GrowFile(const std::filesystem::path& path, uint64_t size_bytes) {
  const base::UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return base::FailErrno(errno, path.string());
  struct stat facts {};
  if (fstat(fd.get(), &facts) != 0) return base::FailErrno(errno, path.string());
  if (static_cast<uint64_t>(facts.st_size) >= size_bytes) return {};
  if (ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0)
    return base::FailErrno(errno, path.string());
  return {};
}

}  // namespace

Result<Tgt> Tgt::Start(TgtOptions options) {
  Tgt server;
  if (options.directory.empty()) {
    server.temporary_ = std::make_unique<base::TempDir>();
    options.directory = server.temporary_->path();
  }
  server.directory_ = options.directory;
  std::error_code error;
  std::filesystem::create_directories(server.luns(), error);
  if (error) return base::FailErrno(error.value(), server.luns().string());
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool({"start", "--dir", server.directory_.string(),
                                                      "--addresses", Joined(options.addresses),
                                                      "--threads", std::to_string(options.threads),
                                                      "--owner", std::to_string(getpid())}));
  GANTRY_TRY(server.TakeFacts(facts));
  return server;
}

Tgt::Tgt(Tgt&& other) noexcept
    : temporary_(std::move(other.temporary_)),
      directory_(std::exchange(other.directory_, {})),
      portals_(std::move(other.portals_)),
      pid_(std::exchange(other.pid_, 0)),
      port_(other.port_) {}

Tgt& Tgt::operator=(Tgt&& other) noexcept {
  if (this != &other) {
    const Tgt old(std::move(*this));
    temporary_ = std::move(other.temporary_);
    directory_ = std::exchange(other.directory_, {});
    portals_ = std::move(other.portals_);
    pid_ = std::exchange(other.pid_, 0);
    port_ = other.port_;
  }
  return *this;
}

Tgt::~Tgt() {
  if (!directory_.empty()) (void)Kill();
}

Status Tgt::Run(const std::string& verb) {
  GANTRY_TRY(RunTool({verb, "--dir", directory_.string()}));
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool({"facts", "--dir", directory_.string()}));
  return TakeFacts(facts);
}

Status Tgt::TakeFacts(const std::string& facts) {
  GANTRY_TRY(TakeNumber(facts, "TGT_PID", &pid_));
  GANTRY_TRY(TakeNumber(facts, "TGT_PORT", &port_));
  GANTRY_TRY_ASSIGN(const std::string portals, Fact(facts, "TGT_PORTALS"));
  portals_ = Words(portals);
  return {};
}

Status Tgt::Freeze() { return StopProcess(pid_); }
Status Tgt::Thaw() { return ContinueProcess(pid_); }
Status Tgt::Kill() { return Run("kill"); }
Status Tgt::Restart() { return Run("restart"); }
Status Tgt::Stop() { return Run("stop"); }

// --- tgtadm

Result<std::string> Tgt::Adm(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"adm", "--dir", directory_.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return RunTool(all);
}

Status Tgt::AdmDone(const std::vector<std::string>& arguments) {
  GANTRY_TRY(Adm(arguments));
  return {};
}

std::filesystem::path Tgt::file(const TgtLun& lun) const {
  if (!lun.file.empty()) return luns() / lun.file;
  return luns() / (std::to_string(lun.tid) + "-" + std::to_string(lun.lun) + ".img");
}

Status Tgt::NewTarget(int tid, const std::string& name) {
  return AdmDone(OfTarget("new", "target", tid, {"-T", name}));
}

Status Tgt::DeleteTarget(int tid) {
  return AdmDone(OfTarget("delete", "target", tid, {"--force"}));
}

Status Tgt::NewLun(const TgtLun& lun) {
  GANTRY_TRY(GrowFile(file(lun), lun.size_bytes));
  GANTRY_TRY(
      AdmDone(OfTarget("new", "logicalunit", lun.tid,
                       {"--lun", std::to_string(lun.lun), "-b", file(lun).string(), "--bstype",
                        lun.type, "--blocksize", std::to_string(lun.block_bytes)})));
  std::string parameters = "scsi_sn=" + lun.id + ",scsi_id=" + lun.id;
  if (lun.thin && lun.type == "rdwr") parameters += ",thin_provisioning=1";
  return SetLun(lun.tid, lun.lun, parameters);
}

Status Tgt::DeleteLun(int tid, int lun) {
  for (int tries = 1;; ++tries) {
    const auto done =
        AdmDone(OfTarget("delete", "logicalunit", tid, {"--lun", std::to_string(lun)}));
    if (done || tries == kBusyTriesMax ||
        done.error().message.find("still active") == std::string::npos)
      return done;
  }
}

Status Tgt::ResizeLun(const TgtLun& lun) {
  GANTRY_TRY(GrowFile(file(lun), lun.size_bytes));
  GANTRY_TRY(DeleteLun(lun.tid, lun.lun));
  return NewLun(lun);
}

Status Tgt::SetLun(int tid, int lun, const std::string& parameters) {
  return AdmDone(OfTarget("update", "logicalunit", tid,
                          {"--lun", std::to_string(lun), "--params", parameters}));
}

Status Tgt::Allow(int tid, const std::string& initiator) {
  if (initiator == "ALL") return AdmDone(OfTarget("bind", "target", tid, {"-I", "ALL"}));
  return AdmDone(OfTarget("bind", "target", tid, {"-Q", initiator}));
}

Status Tgt::Disallow(int tid, const std::string& initiator) {
  if (initiator == "ALL") return AdmDone(OfTarget("unbind", "target", tid, {"-I", "ALL"}));
  return AdmDone(OfTarget("unbind", "target", tid, {"-Q", initiator}));
}

Status Tgt::NewAccount(const std::string& user, const std::string& password) {
  return AdmDone({"--op", "new", "--mode", "account", "--user", user, "--password", password});
}

Status Tgt::BindAccount(int tid, const std::string& user, bool outgoing) {
  std::vector<std::string> more = {"--user", user};
  if (outgoing) more.emplace_back("--outgoing");
  return AdmDone(OfTarget("bind", "account", tid, more));
}

Status Tgt::BindDiscoveryAccount(const std::string& user) {
  return AdmDone({"--op", "bind", "--mode", "account", "--user", user});
}

Result<std::string> Tgt::Show() { return Adm({"--op", "show", "--mode", "target"}); }

Result<std::string> Tgt::ShowConnections(int tid) { return Adm(OfTarget("show", "conn", tid)); }

Result<std::vector<int>> Tgt::Sessions(int tid) {
  GANTRY_TRY_ASSIGN(const std::string shown, ShowConnections(tid));
  std::vector<int> sessions;
  const std::vector<std::string> words = Words(shown);
  for (size_t i = 0; i + 1 < words.size(); ++i)
    if (words[i] == "Session:") sessions.push_back(std::stoi(words[i + 1]));
  return sessions;
}

Status Tgt::DropConnections(int tid) {
  GANTRY_TRY_ASSIGN(const std::vector<int> sessions, Sessions(tid));
  for (const int session : sessions) {
    GANTRY_TRY(
        AdmDone(OfTarget("delete", "conn", tid, {"--sid", std::to_string(session), "--cid", "0"})));
  }
  return {};
}

}  // namespace gantry::lab
