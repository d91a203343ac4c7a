// SPDX-License-Identifier: Apache-2.0
// What the tests of iSCSI by the kernel's initiator share: a guest with udevd, iscsid and multipathd,
// nodes whose volumes are the kernel's, and looks at what the kernel has. Limits are those of an
// emulated machine.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "plugins/iscsi/initiator/protocol.hpp"
#include "tests/integration/iscsi_lab.hpp"
#include "tests/integration/iscsi_load.hpp"

namespace gantry::tests {

inline constexpr std::chrono::seconds kPatience{120};       // for what has to happen
inline constexpr const char* kSecondAddress = "127.0.0.2";  // these two can be cut off
inline constexpr const char* kThirdAddress = "127.0.0.3";

int Shell(const std::string& command);

// A process of the test's own, killed by its destructor.
class Daemon {
 public:
  explicit Daemon(std::vector<std::string> argv);
  Daemon(const Daemon&) = delete;
  ~Daemon() { Kill(); }
  void Kill();

 private:
  pid_t pid_ = 0;
};

// iscsid and what a node has beside it, for the life of the program. Throws.
class Guest {
 public:
  static Guest& Get();
  // As after a crash.
  void RestartIscsid();

 private:
  Guest();
  void StartIscsid();
  std::unique_ptr<Daemon> udevd_;
  std::unique_ptr<Daemon> iscsid_;
  std::unique_ptr<Daemon> multipathd_;
};

// Of the kernel: ids of its iSCSI sessions, names of its SCSI disks and of its multipath maps.
std::vector<std::string> Sessions();
std::vector<std::string> States();         // of the sessions
std::vector<std::string> RecoveryTimes();  // likewise: after how many seconds I/O fails, or "off"
std::vector<std::string> Disks();
std::vector<std::string> Maps();

// Packets to an address are lost, until the end of the object.
class Blackhole {
 public:
  explicit Blackhole(std::string address);
  Blackhole(const Blackhole&) = delete;
  ~Blackhole() { End(); }
  void End();

 private:
  std::string address_;
};

// Files below /etc/iscsi and /var/lib/iscsi that are not the package's own.
std::vector<std::string> RecordsOnDisk();

// One request to gantry-initiator, as the plugin makes it.
template <class Operation>
plugin::Result<typename Operation::Reply> AskInitiator(const Operation& operation,
                                                       std::chrono::seconds deadline = kPatience);
std::string RunInitiator(const std::string& line);

template <class Operation>
plugin::Result<typename Operation::Reply> AskInitiator(const Operation& operation,
                                                       std::chrono::seconds deadline) {
  return iscsi::initiator::DecodeReply<typename Operation::Reply>(
      RunInitiator(iscsi::initiator::EncodeRequest(deadline, operation)));
}

// What a published volume is to gantry-initiator.
iscsi::initiator::Unit UnitOf(const LunVolume& volume);

// A target and a node that mounts by the kernel. What a failed test leaves in the kernel is taken from
// it, so that the next one is judged by itself.
class KernelIscsi : public ::testing::Test {
 protected:
  KernelIscsi() { Guest::Get(); }
  ~KernelIscsi() override;
  void Start(const IscsiTargetOptions& options = {}, const std::string& config = "");
  std::string Config() const { return "      mounter: kernel\n" + config_; }
  void ExpectNothingLeft();

  std::string config_;
  std::unique_ptr<IscsiTarget> target_;
  std::unique_ptr<IscsiNode> node_;
};

}  // namespace gantry::tests
