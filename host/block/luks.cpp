// SPDX-License-Identifier: Apache-2.0
#include "host/block/luks.hpp"

#include <filesystem>
#include <fstream>

#include "host/block/device.hpp"
#include "host/block/program.hpp"

namespace gantry::block {
namespace {

using base::Code;
using base::Fail;

constexpr int kNoPermission = 2;  // cryptsetup(8), RETURN CODES

base::Status Run(const std::vector<std::string>& argv, base::TimePoint deadline, int key = -1) {
  GANTRY_TRY_ASSIGN(const ProgramEnd end, RunProgram(argv, deadline, key));
  if (end.exit_code == 0) return {};
  if (end.exit_code == kNoPermission && key >= 0)
    return Fail(Code::kUnauthenticated,
                "the passphrase opens no key slot of the volume's LUKS header");
  return Fail(Code::kFailedPrecondition, "cryptsetup " + argv.at(1) + " exited with " +
                                             std::to_string(end.exit_code) + ": " + end.output);
}

}  // namespace

base::Status FormatLuks(int device, const std::string& uuid, int key, base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const std::string name, DeviceName(device));
  GANTRY_TRY(Run({"cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--uuid", uuid,
                  "--label", "gantry", "--pbkdf-memory", std::to_string(kLuksMemoryKiB),
                  "--key-file", "-", "/dev/" + name},
                 deadline, key));
  return FlushDevice(device);
}

base::Status OpenLuks(int device, const std::string& name, bool readonly, int key,
                      base::TimePoint deadline) {
  GANTRY_TRY_ASSIGN(const std::string device_name, DeviceName(device));
  std::vector<std::string> argv = {"cryptsetup", "open", "--type",           "luks2",
                                   "--key-file", "-",    "--disable-keyring"};
  // Nothing else loads it before there is a mapping; where it is built in, or cannot be loaded,
  // cryptsetup says the rest.
  (void)RunProgram({"modprobe", "-q", "dm_crypt"}, deadline);
  if (readonly) argv.emplace_back("--readonly");
  argv.insert(argv.end(), {"/dev/" + device_name, name});
  return Run(argv, deadline, key);
}

base::Status GrowLuks(const std::string& name, base::TimePoint deadline) {
  return Run({"cryptsetup", "resize", "--disable-keyring", name}, deadline);
}

base::Status CloseLuks(const std::string& name, base::TimePoint deadline) {
  if (MappingOf(name).empty()) return {};
  return Run({"cryptsetup", "close", name}, deadline);
}

std::string MappingOf(const std::string& name) {
  std::error_code error;
  for (std::filesystem::directory_iterator it("/sys/block", error), end; !error && it != end;
       it.increment(error)) {
    std::ifstream file(it->path() / "dm" / "name");
    std::string found;
    if (file && std::getline(file, found) && found == name) return it->path().filename();
  }
  return "";
}

}  // namespace gantry::block
