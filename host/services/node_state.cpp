// SPDX-License-Identifier: Apache-2.0
#include "host/services/node_state.hpp"

#include <openssl/evp.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "host/base/file.hpp"
#include "host/services/name_hash.hpp"

namespace gantry::services {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr const char* kSuffix = ".json";
constexpr const char* kTemporarySuffix = ".json.tmp";

// Protobuf bytes are no text, and JSON has no bytes.
std::string ToBase64(const std::string& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

bool FromBase64(const std::string& text, std::string* bytes) {
  if (text.size() % 4 != 0) return false;
  bytes->assign(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes->data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0) return false;
  // EVP_DecodeBlock counts the padding as zero bytes.
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  bytes->resize(static_cast<size_t>(length) - padding);
  return true;
}

json ToJson(const core::NodeDevice& device) {
  return json{{"origin", device.origin},
              {"identity", device.identity},
              {"size_bytes", device.size_bytes},
              {"multipath", device.multipath},
              {"raw", device.raw},
              {"encrypted", device.encrypted},
              {"formatting", device.formatting}};
}

core::NodeDevice DeviceFromJson(const json& value) {
  core::NodeDevice device;
  value.at("origin").get_to(device.origin);
  value.at("identity").get_to(device.identity);
  value.at("size_bytes").get_to(device.size_bytes);
  value.at("multipath").get_to(device.multipath);
  value.at("raw").get_to(device.raw);
  value.at("encrypted").get_to(device.encrypted);
  value.at("formatting").get_to(device.formatting);
  return device;
}

json ToJson(const core::NodeVolume& volume) {
  json targets = json::array();
  for (const auto& target : volume.targets)
    targets.push_back(
        {{"path", target.path}, {"readonly", target.readonly}, {"capability", target.capability}});
  json value{{"format", kFormat},
             {"volume_id", volume.volume_id},
             {"backend", volume.backend},
             {"handle", volume.handle},
             {"staging_path", volume.staging_path},
             {"arguments", volume.arguments},
             {"stage_request", ToBase64(volume.stage_request)},
             {"boot_id", volume.boot_id},
             {"staged", volume.staged},
             {"readonly", volume.readonly},
             {"access_mode", volume.access_mode},
             {"targets", targets}};
  if (volume.device) value["device"] = ToJson(*volume.device);
  return value;
}

core::NodeVolume FromJson(const json& value) {
  core::NodeVolume volume;
  value.at("volume_id").get_to(volume.volume_id);
  value.at("backend").get_to(volume.backend);
  value.at("handle").get_to(volume.handle);
  value.at("staging_path").get_to(volume.staging_path);
  value.at("arguments").get_to(volume.arguments);
  if (!FromBase64(value.at("stage_request").get<std::string>(), &volume.stage_request))
    throw std::invalid_argument("stage_request: expected base64");
  value.at("boot_id").get_to(volume.boot_id);
  value.at("staged").get_to(volume.staged);
  value.at("readonly").get_to(volume.readonly);
  value.at("access_mode").get_to(volume.access_mode);
  for (const auto& item : value.at("targets")) {
    core::PublishedTarget target;
    item.at("path").get_to(target.path);
    item.at("readonly").get_to(target.readonly);
    item.at("capability").get_to(target.capability);
    volume.targets.push_back(std::move(target));
  }
  if (value.contains("device")) volume.device = DeviceFromJson(value.at("device"));
  return volume;
}

base::Result<core::NodeVolume> ReadVolume(const std::filesystem::path& file) {
  GANTRY_TRY_ASSIGN(const std::string text, base::ReadFile(file, kNodeStateBytesMax));
  return DecodeNodeVolume(text, file.string());
}

}  // namespace

base::Result<core::NodeVolume> DecodeNodeVolume(std::string_view text, const std::string& where) {
  try {
    const json value = json::parse(text);
    const int format = value.at("format").get<int>();
    if (format != kFormat)
      return base::Fail(base::Code::kDataLoss, "node state " + where + ": format " +
                                                   std::to_string(format) + ", expected " +
                                                   std::to_string(kFormat));
    return FromJson(value);
  } catch (const std::exception& error) {
    return base::Fail(base::Code::kDataLoss, "node state " + where + ": " + error.what());
  }
}

base::Result<std::string> EncodeNodeVolume(const core::NodeVolume& volume) {
  std::string text;
  try {
    text = ToJson(volume).dump(1) + "\n";
  } catch (const json::exception& error) {  // a string that is not UTF-8
    return base::Fail(base::Code::kInvalidArgument,
                      "node state of volume " + volume.volume_id + ": " + error.what());
  }
  if (text.size() > kNodeStateBytesMax)
    return base::Fail(base::Code::kInvalidArgument, "node state of volume " + volume.volume_id +
                                                        ": " + std::to_string(text.size()) +
                                                        " bytes, expected at most " +
                                                        std::to_string(kNodeStateBytesMax));
  return text;
}

base::Result<FileNodeState> FileNodeState::Open(std::filesystem::path directory) {
  GANTRY_TRY(base::MakeDirectories(directory, 0700));
  return FileNodeState(std::move(directory));
}

base::Result<std::filesystem::path> FileNodeState::FileOf(const std::string& volume_id) const {
  GANTRY_TRY_ASSIGN(const std::string hash, HashOf(volume_id));
  return directory_ / (hash + kSuffix);
}

base::Result<std::optional<core::NodeVolume>> FileNodeState::Load(const std::string& volume_id) {
  GANTRY_TRY_ASSIGN(const auto file, FileOf(volume_id));
  auto volume = ReadVolume(file);
  if (!volume && volume.error().code == base::Code::kNotFound)
    return std::optional<core::NodeVolume>{};
  if (!volume) return tl::unexpected(volume.error());
  if (volume->volume_id != volume_id)
    return base::Fail(base::Code::kDataLoss, "node state " + file.string() + ": is of volume \"" +
                                                 volume->volume_id + "\", expected \"" + volume_id +
                                                 "\"");
  return std::optional<core::NodeVolume>(std::move(*volume));
}

base::Status FileNodeState::Save(const core::NodeVolume& volume) {
  GANTRY_TRY_ASSIGN(const auto file, FileOf(volume.volume_id));
  GANTRY_TRY_ASSIGN(const std::string text, EncodeNodeVolume(volume));
  return base::WriteFileDurably(file, text, 0600);
}

base::Status FileNodeState::Remove(const std::string& volume_id) {
  GANTRY_TRY_ASSIGN(const auto file, FileOf(volume_id));
  return base::RemoveFileDurably(file);
}

base::Result<std::vector<core::NodeVolume>> FileNodeState::LoadAll() {
  GANTRY_TRY_ASSIGN(const auto names, base::ListFiles(directory_));
  std::vector<core::NodeVolume> volumes;
  for (const auto& name : names) {
    if (name.ends_with(kTemporarySuffix)) continue;  // never became a state
    const auto file = directory_ / name;
    GANTRY_TRY_ASSIGN(core::NodeVolume volume, ReadVolume(file));
    GANTRY_TRY_ASSIGN(const auto expected, FileOf(volume.volume_id));
    if (expected != file)
      return base::Fail(base::Code::kDataLoss, "node state " + file.string() + ": is of volume \"" +
                                                   volume.volume_id + "\", expected in " +
                                                   expected.string());
    volumes.push_back(std::move(volume));
  }
  return volumes;
}

}  // namespace gantry::services
