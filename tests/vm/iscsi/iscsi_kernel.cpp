// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/iscsi/iscsi_kernel.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;

std::vector<std::string> Names(const fs::path& directory, const std::string& prefix) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    if (auto name = it->path().filename().string(); name.starts_with(prefix))
      names.push_back(std::move(name));
  std::sort(names.begin(), names.end());
  return names;
}

std::string FirstLine(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

void Must(const std::string& command) {
  if (Shell(command) != 0) throw std::runtime_error(command + " failed");
}

}  // namespace

int Shell(const std::string& command) { return std::system(command.c_str()); }

Daemon::Daemon(std::vector<std::string> argv) {
  std::vector<char*> words;
  for (auto& word : argv) words.push_back(word.data());
  words.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  execv(words[0], words.data());
  _exit(127);
}

void Daemon::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

Guest& Guest::Get() {
  static Guest guest;
  return guest;
}

Guest::Guest() {
  if (FirstLine("/proc/sys/kernel/hostname") != "gantry-vm")
    throw std::runtime_error("this is not the guest of tests/vm");
  Must(
      "modprobe -a iscsi_tcp sd_mod dm_multipath dm_service_time scsi_dh_alua target_core_mod "
      "target_core_iblock iscsi_target_mod loop");
  Must("mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config");
  udevd_ = std::make_unique<Daemon>(std::vector<std::string>{"/lib/systemd/systemd-udevd"});
  StartIscsid();
  multipathd_ = std::make_unique<Daemon>(std::vector<std::string>{"/sbin/multipathd", "-d", "-s"});
  if (!Soon([] { return Shell("multipathd show daemon >/dev/null 2>&1") == 0; }, kPatience))
    throw std::runtime_error("multipathd does not answer");
}

void Guest::StartIscsid() {
  iscsid_ = std::make_unique<Daemon>(std::vector<std::string>{"/sbin/iscsid", "-f"});
  if (!Soon([] { return bool(AskInitiator(iscsi::initiator::Probe{})); }, kPatience))
    throw std::runtime_error("iscsid does not answer");
}

void Guest::RestartIscsid() {
  iscsid_.reset();
  StartIscsid();
}

std::vector<std::string> Sessions() { return Names("/sys/class/iscsi_session", "session"); }

namespace {

std::vector<std::string> OfSessions(const std::string& attribute) {
  std::vector<std::string> values;
  for (const auto& name : Sessions())
    values.push_back(FirstLine("/sys/class/iscsi_session/" + name + "/" + attribute));
  return values;
}

}  // namespace

std::vector<std::string> States() { return OfSessions("state"); }
std::vector<std::string> RecoveryTimes() { return OfSessions("recovery_tmo"); }

std::vector<std::string> Disks() { return Names("/sys/block", "sd"); }
std::vector<std::string> Maps() { return Names("/sys/block", "dm-"); }

Blackhole::Blackhole(std::string address) : address_(std::move(address)) {
  Must("ip route add blackhole " + address_ + "/32 table local");
}

void Blackhole::End() {
  if (address_.empty()) return;
  (void)Shell("ip route del blackhole " + address_ + "/32 table local");
  address_.clear();
}

std::vector<std::string> RecordsOnDisk() {
  std::vector<std::string> records;
  for (const char* top : {"/etc/iscsi", "/var/lib/iscsi"}) {
    std::error_code error;
    for (fs::recursive_directory_iterator it(top, error), end; !error && it != end;
         it.increment(error)) {
      const auto name = it->path().filename();
      if (it->is_regular_file() && name != "iscsid.conf" && name != "initiatorname.iscsi")
        records.push_back(it->path());
    }
  }
  return records;
}

std::string RunInitiator(const std::string& line) {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
    throw std::runtime_error("pipe failed");
  const std::string program = std::string(build) + "/bin/gantry-initiator";
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execl(program.c_str(), program.c_str(), "/proc/self", nullptr);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  // A pipe holds more than a request.
  if (write(in[1], line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    throw std::runtime_error("write to gantry-initiator failed");
  close(in[1]);
  std::string reply;
  char buffer[4096];
  for (ssize_t n; (n = read(out[0], buffer, sizeof buffer)) > 0;)
    reply.append(buffer, static_cast<size_t>(n));
  close(out[0]);
  waitpid(pid, nullptr, 0);
  if (reply.ends_with('\n')) reply.pop_back();
  return reply;
}

iscsi::initiator::Unit UnitOf(const LunVolume& volume) {
  const auto& context = volume.publish_context;
  return {context.at("iqn"), static_cast<uint32_t>(std::stoul(context.at("lun"))),
          context.at("initiator"), context.at("identity")};
}

namespace {

void DetachEverything() {
  const fs::path all = "/sys/class/iscsi_session";
  for (const auto& name : Sessions()) {
    iscsi::initiator::Unit unit;
    unit.target = FirstLine(all / name / "targetname");
    unit.initiator = FirstLine(all / name / "initiatorname");
    unit.identity = "naa." + std::string(32, '0');
    for (const auto& group : Names(all / name / "device", "target"))
      for (const auto& disk : Names(all / name / "device" / group, "")) {
        if (std::count(disk.begin(), disk.end(), ':') != 3) continue;
        unit.lun = static_cast<uint32_t>(std::stoul(disk.substr(disk.rfind(':') + 1)));
        unit.identity = FirstLine(all / name / "device" / group / disk / "wwid");
      }
    (void)AskInitiator(iscsi::initiator::Detach{unit});
  }
}

}  // namespace

KernelIscsi::~KernelIscsi() {
  if (!HasFailure()) return;
  if (node_) std::fprintf(stderr, "%s\n", node_->host().Log().c_str());
  node_.reset();
  DetachEverything();
}

void KernelIscsi::Start(const IscsiTargetOptions& options, const std::string& config) {
  config_ = config;
  target_ = std::make_unique<IscsiTarget>(options);
  node_ = std::make_unique<IscsiNode>(*target_, "node-a", Config());
}

void KernelIscsi::ExpectNothingLeft() {
  EXPECT_THAT(node_->Left(), IsEmpty());
  EXPECT_THAT(Sessions(), IsEmpty());
  EXPECT_THAT(Disks(), IsEmpty());
  EXPECT_THAT(Maps(), IsEmpty());
  EXPECT_THAT(RecordsOnDisk(), IsEmpty());
  EXPECT_TRUE(Soon([&] { return target_->Files().empty(); }, kPatience))
      << ::testing::PrintToString(target_->Files());
}

}  // namespace gantry::tests
