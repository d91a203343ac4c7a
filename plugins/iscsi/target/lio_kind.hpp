// SPDX-License-Identifier: Apache-2.0
// The kernel's target (LIO), by configfs. The kernel keeps it until a reboot.
//
// The fence is the kernel's own: taking away an initiator's entry closes its sessions and returns
// when their commands are done. That wait cannot be given a deadline; a storage that hangs beneath
// the target makes it, and the program, hang with it until its caller kills it or gives up.
#pragma once

#include <string>
#include <vector>

#include "plugins/iscsi/target/config.hpp"
#include "plugins/iscsi/target/lio_plan.hpp"
#include "plugins/iscsi/target/target_kind.hpp"

namespace gantry::iscsi::target {

class LioKind final : public TargetKind {
 public:
  LioKind(const LioConfig& config, const std::vector<Portal>& portals);

  const char* name() const override { return "lio"; }
  bool grow_interrupts() const override { return false; }
  plugin::Status Probe() override;
  plugin::Status Check(const Export& wanted) const override;
  plugin::Status Ensure(const Export& wanted, Deadline deadline) override;
  plugin::Status Remove(const std::string& iqn, Deadline deadline) override;
  plugin::Status Close(const std::string& iqn, const std::string& initiator,
                       const std::string& chap_user, Deadline deadline) override;
  plugin::Status Grow(const Export& wanted, Deadline deadline) override;
  plugin::Result<Difference> Compare(const std::string& iqn_prefix,
                                     const std::vector<Export>& wanted) override;
  std::optional<std::string> Generation() override;

 private:
  // Where the kernel writes the keys of persistent reservations: at every registration, and without
  // the directory it refuses them all (2/0800), and with them whoever fences by them.
  plugin::Status EnsureKeysDirectory() const;
  plugin::Status Do(const LioPlan& plan) const;
  plugin::Status DoStep(const LioStep& step) const;
  // Names in a directory beneath target/; none when it is not there.
  plugin::Result<std::vector<std::string>> Names(const std::string& path) const;
  // What the file says, without the newline; empty when it is not there.
  std::string Value(const std::string& path) const;
  // The block object that the target's LUN is linked to, or empty.
  plugin::Result<std::string> DeviceOf(const std::string& iqn) const;

  const std::string top_;
  std::vector<std::string> portals_;
};

}  // namespace gantry::iscsi::target
