// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/lio_plan.hpp"

namespace gantry::iscsi::target {
namespace {

using Kind = LioStep::Kind;

constexpr const char* kBackstore = "core/iblock_0/";
constexpr size_t kDeviceDigits = 16;

std::string Group(const std::string& iqn) { return "iscsi/" + iqn + "/tpgt_1/"; }
std::string LunName() { return "lun_" + std::to_string(kLun); }

}  // namespace

std::string LioDevice(const Identity& identity) {
  return "gantry-" + identity.serial.substr(0, kDeviceDigits);
}

LioPlan PlanDevice(const Export& wanted, const std::string& loop_device) {
  const std::string device = kBackstore + LioDevice(wanted.identity);
  return {
      {Kind::kMakeDirectory, "core/iblock_0"},
      {Kind::kMakeDirectory, device},
      {Kind::kWrite, device + "/control", "udev_path=" + loop_device},
      // Where Remove finds it again: the kernel shows none of what went to `control`.
      {Kind::kWrite, device + "/udev_path", loop_device},
      // Before anything exports it: the kernel refuses it afterwards.
      {Kind::kWrite, device + "/wwn/vpd_unit_serial", wanted.identity.serial},
      {Kind::kWrite, device + "/enable", "1"},
      {Kind::kWriteIfPossible, device + "/attrib/emulate_tpu", "1"},
      {Kind::kWriteIfPossible, device + "/attrib/emulate_tpws", "1"},
  };
}

LioPlan PlanTarget(const Export& wanted, const std::vector<std::string>& portals) {
  const std::string group = Group(wanted.iqn);
  const std::string device = LioDevice(wanted.identity);
  const bool has_chap = !wanted.access.empty() && wanted.access.front().chap.has_value();
  LioPlan plan = {
      {Kind::kMakeDirectory, "iscsi"},
      {Kind::kMakeDirectory, "iscsi/" + wanted.iqn},
      {Kind::kMakeDirectory, "iscsi/" + wanted.iqn + "/tpgt_1"},
      // Nobody without an entry of its own gets in, and nobody without a secret where there are some.
      {Kind::kWrite, group + "attrib/generate_node_acls", "0"},
      {Kind::kWrite, group + "attrib/demo_mode_write_protect", "1"},
      {Kind::kWrite, group + "attrib/authentication", has_chap ? "1" : "0"},
      {Kind::kMakeDirectory, group + "lun/" + LunName()},
      {Kind::kLink, group + "lun/" + LunName() + "/" + device, kBackstore + device},
  };
  for (const auto& portal : portals)
    plan.push_back({Kind::kMakeDirectory, std::string(group).append("np/").append(portal)});
  plan.push_back({Kind::kWrite, group + "enable", "1"});
  return plan;
}

LioPlan PlanAccess(const Export& wanted, const Access& access) {
  const std::string group = Group(wanted.iqn);
  const std::string acl = group + "acls/" + access.initiator;
  LioPlan plan = {{Kind::kMakeDirectory, acl}};
  if (access.chap) {
    plan.push_back({Kind::kWrite, acl + "/auth/userid", access.chap->user});
    plan.push_back({Kind::kWrite, acl + "/auth/password", access.chap->password});
    if (!access.chap->user_in.empty()) {
      plan.push_back({Kind::kWrite, acl + "/auth/userid_mutual", access.chap->user_in});
      plan.push_back({Kind::kWrite, acl + "/auth/password_mutual", access.chap->password_in});
    }
  }
  const std::string mapped = acl + "/" + LunName();
  plan.push_back({Kind::kMakeDirectory, mapped});
  plan.push_back({Kind::kLink, mapped + "/" + LunName(), group + "lun/" + LunName()});
  plan.push_back({Kind::kWrite, mapped + "/write_protect", access.readonly ? "1" : "0"});
  return plan;
}

LioPlan PlanClose(const std::string& iqn, const std::string& initiator) {
  const std::string acl = Group(iqn) + "acls/" + initiator;
  const std::string mapped = acl + "/" + LunName();
  // The kernel's rmdir of the entry closes its sessions and comes back when they are gone with all
  // of their commands (core_tpg_del_initiator_node_acl).
  return {{Kind::kUnlink, mapped + "/" + LunName()},
          {Kind::kRemoveDirectory, mapped},
          {Kind::kRemoveDirectory, acl}};
}

LioPlan PlanRemove(const std::string& iqn, const std::vector<std::string>& portals,
                   const std::string& device) {
  const std::string group = Group(iqn);
  LioPlan plan;
  // Waits for commands on the LUN (transport_clear_lun_ref).
  if (!device.empty()) plan.push_back({Kind::kUnlink, group + "lun/" + LunName() + "/" + device});
  plan.push_back({Kind::kRemoveDirectory, group + "lun/" + LunName()});
  for (const auto& portal : portals)
    plan.push_back({Kind::kRemoveDirectory, std::string(group).append("np/").append(portal)});
  plan.push_back({Kind::kRemoveDirectory, "iscsi/" + iqn + "/tpgt_1"});
  plan.push_back({Kind::kRemoveDirectory, "iscsi/" + iqn});
  if (!device.empty()) plan.push_back({Kind::kRemoveDirectory, kBackstore + device});
  return plan;
}

}  // namespace gantry::iscsi::target
