// SPDX-License-Identifier: Apache-2.0
#include "host/services/claimed_device.hpp"

#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "host/block/device.hpp"
#include "host/block/loop.hpp"
#include "host/block/luks.hpp"
#include "host/services/device_origin.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using base::Code;
using base::Fail;
using base::UniqueFd;

base::Result<UniqueFd> OpenExclusively(const std::string& name) {
  UniqueFd fd(open(("/dev/" + name).c_str(), O_RDWR | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  if (fd) return fd;
  if (errno == EBUSY)
    return Fail(Code::kFailedPrecondition,
                name + " is held: mounted, swapped on, or part of another device");
  return base::FailErrno(errno, "open " + name);
}

base::Status CheckSize(const std::string& name, int device, uint64_t bytes_min) {
  GANTRY_TRY_ASSIGN(const uint64_t bytes, block::DeviceBytes(device));
  if (bytes >= bytes_min) return {};
  return Fail(Code::kFailedPrecondition, name + " has " + std::to_string(bytes) +
                                             " bytes: expected at least " +
                                             std::to_string(bytes_min));
}

base::Result<std::string> OwnLoop(const DeviceRequest& request) {
  GANTRY_TRY_ASSIGN(const auto loops, block::FindLoops(DiskLoops(request.volume)));
  if (loops.empty())
    return Fail(Code::kNotFound, "there is no loop device for the disk of this volume");
  return "loop" + std::to_string(loops.front().number);
}

// Where the storage's device is now: the plugin's paths where it said some, all of which must be
// what is written down, else wherever the kernel has it.
base::Result<std::string> FindStorage(const DeviceRequest& request, const DeviceIdentity& identity,
                                      const Provenance& provenance) {
  std::optional<std::string> named;
  for (const auto& path : request.paths) {
    const auto found = provenance.Recognize(path, identity);
    if (!found && found.error().code == Code::kNotFound) continue;  // a path that is down
    if (!found) return tl::unexpected(found.error());
    if (!named) named = found->name;
  }
  if (!request.paths.empty() && !named)
    return Fail(Code::kUnavailable, "device: none of its " + std::to_string(request.paths.size()) +
                                        " paths is there, as " + request.paths.front());
  if (named && !request.multipath) return *named;
  GANTRY_TRY_ASSIGN(const auto all, provenance.FindAll(identity));
  for (const auto& found : all)
    if (found.is_map == request.multipath) return found.name;
  if (request.multipath && !all.empty())
    return Fail(Code::kUnavailable,
                "device " + all.front().name +
                    ": expected a multipath map above it; is multipathd running?");
  return Fail(Code::kNotFound, "device of " + request.origin + " is not on this node");
}

std::string MappingAbove(const DeviceRequest& request) {
  return request.encrypted ? block::MappingOf(MappingName(request.volume)) : "";
}

base::Status CheckMapping(const std::string& mapping, const std::string& name) {
  std::error_code ignored;
  if (fs::exists("/sys/block/" + mapping + "/slaves/" + name, ignored)) return {};
  return Fail(Code::kFailedPrecondition,
              "the mapping " + mapping + " of this volume is not one of " + name);
}

}  // namespace

base::Result<ClaimedDevice> LocateDevice(const DeviceRequest& request) {
  ClaimedDevice device;
  if (request.origin == kDiskOrigin) {
    GANTRY_TRY_ASSIGN(device.name, OwnLoop(request));
  } else {
    const DeviceFiles files;
    GANTRY_TRY_ASSIGN(const auto identity, ParseOrigin(request.origin, request.identity));
    GANTRY_TRY_ASSIGN(device.name, FindStorage(request, identity, Provenance(files)));
  }
  device.top = device.name;
  if (const std::string mapping = MappingAbove(request); !mapping.empty()) {
    GANTRY_TRY(CheckMapping(mapping, device.name));
    device.top = mapping;
    device.is_open = true;
  }
  return device;
}

base::Result<ClaimedDevice> ClaimDevice(const DeviceRequest& request) {
  GANTRY_TRY_ASSIGN(ClaimedDevice device, LocateDevice(request));
  if (device.is_open || request.origin == kDiskOrigin) {
    // Ours, by its name; nobody but root gives such names.
    GANTRY_TRY_ASSIGN(device.fd, OpenExclusively(device.top));
  } else {
    const DeviceFiles files;
    GANTRY_TRY_ASSIGN(const auto identity, ParseOrigin(request.origin, request.identity));
    GANTRY_TRY_ASSIGN(ProvenDevice proven,
                      Provenance(files).Prove("/dev/" + device.name, identity));
    device.fd = std::move(proven.fd);
  }
  // What LUKS takes for its header is not missing.
  if (!device.is_open) GANTRY_TRY(CheckSize(device.top, device.fd.get(), request.bytes_min));
  return device;
}

base::Result<UniqueFd> LetGo(ClaimedDevice device) {
  GANTRY_TRY_ASSIGN(UniqueFd kept, block::Reopen(device.fd.get(), O_RDWR));
  device.fd.Reset();
  return kept;
}

}  // namespace gantry::services
