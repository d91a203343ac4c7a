// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/sysfs.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::initiator {
namespace {

namespace fs = std::filesystem;
using plugin::Status;

constexpr size_t kAttributeBytesMax = 4096;
constexpr uint64_t kSectorBytes = 512;
constexpr std::string_view kMultipath = "mpath-";

// Without what stands around it; "" when there is none.
std::string Attribute(const fs::path& file) {
  const auto text = target::ReadFile(AT_FDCWD, file, kAttributeBytesMax);
  if (!text) return "";
  const size_t first = text->find_first_not_of(" \n");
  if (first == std::string::npos) return "";
  return text->substr(first, text->find_last_not_of(" \n") - first + 1);
}

Status Write(const fs::path& file, const std::string& text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto fd, target::OpenFile(AT_FDCWD, file, O_WRONLY | O_TRUNC));
  const auto written = target::WriteAll(fd.get(), text, file);
  if (written) return {};
  return plugin::Fail(plugin::code::kUnavailable, written.error().message);
}

template <class N>
N NumberOf(std::string_view text) {
  N number = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::string> Names(const fs::path& directory, std::string_view prefix = "") {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    if (auto name = it->path().filename().string(); name.starts_with(prefix))
      names.push_back(std::move(name));
  std::sort(names.begin(), names.end());
  return names;
}

// "target3:0:0/3:0:0:7" -> 7
std::optional<uint32_t> LunOf(const std::string& name) {
  if (std::count(name.begin(), name.end(), ':') != 3) return std::nullopt;
  return NumberOf<uint32_t>(std::string_view(name).substr(name.rfind(':') + 1));
}

std::vector<Disk> DisksBelow(const fs::path& session) {
  std::vector<Disk> disks;
  for (const auto& group : Names(session, "target"))
    for (const auto& name : Names(session / group)) {
      const auto lun = LunOf(name);
      if (!lun) continue;
      Disk disk;
      disk.device = session / group / name;
      disk.lun = *lun;
      disk.wwid = Attribute(disk.device / "wwid");
      if (const auto blocks = Names(disk.device / "block"); !blocks.empty()) {
        disk.name = blocks.front();
        disk.size_bytes =
            NumberOf<uint64_t>(Attribute(disk.device / "block" / disk.name / "size")) *
            kSectorBytes;
      }
      disks.push_back(std::move(disk));
    }
  return disks;
}

}  // namespace

const Disk* Session::Find(uint32_t lun) const {
  const auto found =
      std::find_if(disks.begin(), disks.end(), [&](const Disk& disk) { return disk.lun == lun; });
  return found == disks.end() ? nullptr : &*found;
}

bool Session::HasOthersThan(uint32_t lun) const {
  return std::any_of(disks.begin(), disks.end(), [&](const Disk& disk) { return disk.lun != lun; });
}

std::vector<Session> Sysfs::Sessions(const std::string& target, const std::string& initiator,
                                     const std::string& interface) const {
  constexpr std::string_view kSession = "session";
  constexpr std::string_view kHost = "host";
  std::vector<Session> sessions;
  const fs::path all = top_ / "class" / "iscsi_session";
  for (const auto& name : Names(all, kSession)) {
    Session session;
    session.directory = all / name;
    if (Attribute(session.directory / "targetname") != target ||
        Attribute(session.directory / "initiatorname") != initiator ||
        Attribute(session.directory / "ifacename") != interface)
      continue;
    std::error_code error;
    const fs::path device = fs::canonical(session.directory / "device", error);
    const std::string host = device.parent_path().filename();
    if (error || !host.starts_with(kHost)) continue;  // it is just going
    session.id = name.substr(kSession.size());
    session.host = NumberOf<uint32_t>(std::string_view(host).substr(kHost.size()));
    session.target_id = NumberOf<uint32_t>(Attribute(session.directory / "target_id"));
    session.is_up = Attribute(session.directory / "state") == "LOGGED_IN";
    for (const auto& connection : Names(device, "connection")) {
      const fs::path facts = device / connection / "iscsi_connection" / connection;
      session.portal = {Attribute(facts / "persistent_address"),
                        NumberOf<uint16_t>(Attribute(facts / "persistent_port"))};
    }
    session.place = device;
    session.disks = DisksBelow(device);
    sessions.push_back(std::move(session));
  }
  std::sort(sessions.begin(), sessions.end(), [](const Session& a, const Session& b) {
    return NumberOf<uint32_t>(a.id) < NumberOf<uint32_t>(b.id);
  });
  return sessions;
}

std::optional<Disk> Sysfs::Look(const Session& session, uint32_t lun) const {
  for (auto& disk : DisksBelow(session.place))
    if (disk.lun == lun) return std::move(disk);
  return std::nullopt;
}

bool Sysfs::HasTransport() const {
  std::error_code ignored;
  return fs::exists(top_ / "class" / "iscsi_transport" / "tcp", ignored);
}

Status Sysfs::Scan(const Session& session, uint32_t lun) const {
  return Write(top_ / "class" / "scsi_host" / ("host" + std::to_string(session.host)) / "scan",
               "0 " + std::to_string(session.target_id) + " " + std::to_string(lun));
}

Status Sysfs::Reread(const Disk& disk) const { return Write(disk.device / "rescan", "1"); }

Status Sysfs::Delete(const Disk& disk) const {
  auto done = Write(disk.device / "delete", "1");
  if (!done && done.error().code == plugin::code::kNotFound) return {};
  return done;
}

Status Sysfs::SetOffline(const Disk& disk) const { return Write(disk.device / "state", "offline"); }

Status Sysfs::SetRecoveryTime(const Session& session, std::optional<uint32_t> seconds) const {
  return Write(session.directory / "recovery_tmo", seconds ? std::to_string(*seconds) : "off");
}

plugin::Result<std::optional<uint32_t>> Sysfs::RecoveryTime(const Session& session) const {
  const std::string text = Attribute(session.directory / "recovery_tmo");
  if (text.empty())
    return plugin::Fail(plugin::code::kNotFound, "session " + session.id + " has gone");
  if (text == "off") return std::optional<uint32_t>();
  return std::optional<uint32_t>(NumberOf<uint32_t>(text));
}

std::string Sysfs::GivenUp(const Disk& disk) const {
  constexpr std::array<std::string_view, 4> kEnds = {"offline", "transport-offline", "cancel",
                                                     "deleted"};
  std::string state = Attribute(disk.device / "state");
  return std::find(kEnds.begin(), kEnds.end(), state) == kEnds.end() ? "" : state;
}

std::vector<std::string> Sysfs::Holders(const std::string& device) const {
  return Names(top_ / "block" / device / "holders");
}

std::optional<std::string> Sysfs::MapAbove(const std::string& disk) const {
  for (const auto& holder : Holders(disk))
    if (Attribute(top_ / "block" / holder / "dm" / "uuid").starts_with(kMultipath)) return holder;
  return std::nullopt;
}

std::string Sysfs::MapName(const std::string& map) const {
  return Attribute(top_ / "block" / map / "dm" / "name");
}

bool Sysfs::Exists(const std::string& device) const {
  std::error_code ignored;
  return fs::exists(top_ / "block" / device, ignored);
}

uint64_t Sysfs::SizeBytes(const std::string& device) const {
  return NumberOf<uint64_t>(Attribute(top_ / "block" / device / "size")) * kSectorBytes;
}

std::string Sysfs::Number(const std::string& device) const {
  return Attribute(top_ / "block" / device / "dev");
}

}  // namespace gantry::iscsi::initiator
