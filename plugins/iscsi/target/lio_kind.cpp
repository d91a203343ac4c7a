// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/lio_kind.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "plugins/iscsi/target/files.hpp"
#include "plugins/iscsi/target/loop_device.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;
namespace fs = std::filesystem;

constexpr size_t kValueBytesMax = 4096;
constexpr const char* kDbrootBefore = "/var/target";  // of kernels that do not say it

bool Has(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

LioKind::LioKind(const LioConfig& config, const std::vector<Portal>& portals)
    : top_(config.configfs + "/") {
  for (const auto& portal : portals) portals_.push_back(Format(portal));
}

plugin::Status LioKind::DoStep(const LioStep& step) const {
  const std::string path = top_ + step.path;
  const auto failed = [&] { return tl::unexpected(FromErrno(errno, "lio: " + step.path)); };
  switch (step.kind) {
    case LioStep::Kind::kMakeDirectory:
      if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return failed();
      return {};
    case LioStep::Kind::kLink:
      if (symlink((top_ + step.value).c_str(), path.c_str()) != 0 && errno != EEXIST)
        return failed();
      return {};
    case LioStep::Kind::kUnlink:
      if (unlink(path.c_str()) != 0 && errno != ENOENT) return failed();
      return {};
    case LioStep::Kind::kRemoveDirectory:
      if (rmdir(path.c_str()) != 0 && errno != ENOENT) return failed();
      return {};
    case LioStep::Kind::kWrite:
    case LioStep::Kind::kWriteIfPossible: {
      auto file = OpenFile(AT_FDCWD, path, O_WRONLY);
      const plugin::Status status = file ? WriteAll(file->get(), step.value, "lio: " + step.path)
                                         : plugin::Status(tl::unexpected(std::move(file.error())));
      return step.kind == LioStep::Kind::kWriteIfPossible ? plugin::Status() : status;
    }
  }
  return {};
}

plugin::Status LioKind::Do(const LioPlan& plan) const {
  for (const auto& step : plan) GANTRY_PLUGIN_TRY(DoStep(step));
  return {};
}

Result<std::vector<std::string>> LioKind::Names(const std::string& path) const {
  const auto directory = OpenFile(AT_FDCWD, top_ + path, O_RDONLY | O_DIRECTORY);
  if (!directory && directory.error().code == code::kNotFound) return std::vector<std::string>();
  if (!directory) return tl::unexpected(directory.error());
  return ListNames(directory->get());
}

std::string LioKind::Value(const std::string& path) const {
  auto text = ReadFile(AT_FDCWD, top_ + path, kValueBytesMax);
  if (!text) return "";
  return text->substr(0, text->find('\n'));
}

Result<std::string> LioKind::DeviceOf(const std::string& iqn) const {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto names,
                           Names("iscsi/" + iqn + "/tpgt_1/lun/lun_" + std::to_string(kLun)));
  for (const auto& name : names)
    if (name.starts_with("gantry-")) return name;
  return std::string();
}

plugin::Status LioKind::Probe() {
  if (access((top_ + "core").c_str(), R_OK) != 0)
    return Fail(code::kUnavailable, "lio: " + top_ +
                                        "core is not there: expected configfs mounted and the "
                                        "module target_core_mod loaded");
  // Loads the fabric's module where the kernel can.
  const auto fabric = DoStep({LioStep::Kind::kMakeDirectory, "iscsi"});
  if (!fabric) return Fail(code::kUnavailable, fabric.error().message + " (iscsi_target_mod)");
  return EnsureKeysDirectory();
}

plugin::Status LioKind::EnsureKeysDirectory() const {
  const std::string dbroot = Value("dbroot");
  const fs::path keys = fs::path(dbroot.empty() ? kDbrootBefore : dbroot) / "pr";
  std::error_code error;
  fs::create_directories(keys, error);
  if (error) return tl::unexpected(FromErrno(error.value(), "lio: " + keys.string()));
  return {};
}

plugin::Status LioKind::Check(const Export& wanted) const {
  for (const auto& access : wanted.access)
    if (access.chap.has_value() != wanted.access.front().chap.has_value())
      return Fail(code::kFailedPrecondition,
                  "lio: CHAP is for all nodes of a volume or for none of them");
  return {};
}

plugin::Status LioKind::Ensure(const Export& wanted, Deadline deadline) {
  GANTRY_PLUGIN_TRY(Check(wanted));
  GANTRY_PLUGIN_TRY(Probe());
  if (Value("core/iblock_0/" + LioDevice(wanted.identity) + "/enable") != "1") {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto loop, AttachLoop(wanted.file));
    GANTRY_PLUGIN_TRY(Do(PlanDevice(wanted, loop)));
  }
  std::set<std::string> names;
  for (const auto& access : wanted.access) names.insert(access.initiator);
  GANTRY_PLUGIN_TRY_ASSIGN(const auto there, Names("iscsi/" + wanted.iqn + "/tpgt_1/acls"));
  for (const auto& initiator : there)
    if (!names.contains(initiator)) GANTRY_PLUGIN_TRY(Close(wanted.iqn, initiator, "", deadline));
  if (Value("iscsi/" + wanted.iqn + "/tpgt_1/enable") != "1")
    GANTRY_PLUGIN_TRY(Do(PlanTarget(wanted, portals_)));
  for (const auto& access : wanted.access) GANTRY_PLUGIN_TRY(Do(PlanAccess(wanted, access)));
  return {};
}

plugin::Status LioKind::Close(const std::string& iqn, const std::string& initiator,
                              const std::string& /*chap_user*/, Deadline /*deadline*/) {
  return Do(PlanClose(iqn, initiator));
}

plugin::Status LioKind::Remove(const std::string& iqn, Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto initiators, Names("iscsi/" + iqn + "/tpgt_1/acls"));
  for (const auto& initiator : initiators) GANTRY_PLUGIN_TRY(Close(iqn, initiator, "", deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto device, DeviceOf(iqn));
  GANTRY_PLUGIN_TRY_ASSIGN(const auto portals, Names("iscsi/" + iqn + "/tpgt_1/np"));
  const std::string loop = device.empty() ? "" : Value("core/iblock_0/" + device + "/udev_path");
  GANTRY_PLUGIN_TRY(Do(PlanRemove(iqn, portals, device)));
  if (!loop.empty()) return DetachLoop(loop);
  return {};
}

plugin::Status LioKind::Grow(const Export& wanted, Deadline /*deadline*/) {
  const auto loop = FindLoop(wanted.file);
  if (!loop) return {};
  return ResizeLoop(*loop);
}

Result<TargetKind::Difference> LioKind::Compare(const std::string& iqn_prefix,
                                                const std::vector<Export>& wanted) {
  Difference difference;
  std::set<std::string> names;
  for (const auto& one : wanted) {
    names.insert(one.iqn);
    const std::string group = "iscsi/" + one.iqn + "/tpgt_1/";
    GANTRY_PLUGIN_TRY_ASSIGN(const auto device, DeviceOf(one.iqn));
    GANTRY_PLUGIN_TRY_ASSIGN(const auto acls, Names(group + "acls"));
    bool whole = device == LioDevice(one.identity) && Value(group + "enable") == "1" &&
                 acls.size() == one.access.size();
    for (const auto& access : one.access) {
      GANTRY_PLUGIN_TRY_ASSIGN(const auto mapped, Names(group + "acls/" + access.initiator +
                                                        "/lun_" + std::to_string(kLun)));
      whole = whole && Has(mapped, "lun_" + std::to_string(kLun));
    }
    if (!whole) difference.missing.push_back(one.iqn);
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const auto there, Names("iscsi"));
  for (const auto& iqn : there)
    if (iqn.starts_with(iqn_prefix + ":") && !names.contains(iqn))
      difference.surplus.push_back(iqn);
  return difference;
}

std::optional<std::string> LioKind::Generation() {
  if (access((top_ + "core").c_str(), R_OK) != 0) return std::nullopt;
  auto boot = ReadFile(AT_FDCWD, "/proc/sys/kernel/random/boot_id", kValueBytesMax);
  if (!boot) return std::nullopt;
  return std::move(*boot);
}

}  // namespace gantry::iscsi::target
