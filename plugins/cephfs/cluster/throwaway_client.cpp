// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/throwaway_client.hpp"

#include <cephfs/libcephfs.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "plugins/cephfs/cluster/ceph_error.hpp"

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Result;
using plugin::Status;

void AddIdentity(const ClientIdentity& identity, json* object) {
  (*object)["mon_host"] = identity.mon_host;
  (*object)["user"] = identity.user;
  (*object)["key"] = identity.key;
  (*object)["fs_name"] = identity.fs_name;
  (*object)["timeout_s"] = identity.timeout_s;
}

ClientIdentity IdentityFrom(const json& object) {
  ClientIdentity identity;
  identity.mon_host = object.value("mon_host", "");
  identity.user = object.value("user", "");
  identity.key = object.value("key", "");
  identity.fs_name = object.value("fs_name", "");
  identity.timeout_s = object.value("timeout_s", 0);
  return identity;
}

plugin::Result<json> ParseJobInput(std::string_view text) {
  json object = json::parse(text, nullptr, false);
  if (!object.is_object())
    return plugin::Fail(plugin::code::kInvalidArgument, "the job's input is no JSON object");
  return object;
}

Status ThrowawayClient::Open(const ClientIdentity& identity) {
  const auto done = [](int number) -> Status {
    if (number == 0) return {};
    return tl::unexpected(FromErrno(number, "connecting to the cluster"));
  };
  GANTRY_PLUGIN_TRY(done(ceph_create(&mount_, identity.user.c_str())));
  for (const auto& [name, value] :
       {std::pair{"mon_host", identity.mon_host}, std::pair{"key", identity.key},
        std::pair{"keyring", std::string("/dev/null")}, std::pair{"log_file", std::string()},
        std::pair{"log_to_stderr", std::string("false")},
        std::pair{"err_to_stderr", std::string("false")}, std::pair{"admin_socket", std::string()},
        // What the entity may do the MDS decides; the process's own uid is nobody there.
        std::pair{"client_permissions", std::string("false")},
        std::pair{"client_mount_timeout", std::to_string(identity.timeout_s)}})
    GANTRY_PLUGIN_TRY(done(ceph_conf_set(mount_, name, value.c_str())));
  GANTRY_PLUGIN_TRY(done(ceph_select_filesystem(mount_, identity.fs_name.c_str())));
  return done(ceph_init(mount_));
}

Result<json> ThrowawayClient::AskMds(const std::string& mds, const json& command) {
  const std::string text = command.dump();
  const char* words = text.c_str();
  char* out = nullptr;
  char* said = nullptr;
  size_t out_length = 0;
  size_t said_length = 0;
  const int number = ceph_mds_command(mount_, mds.c_str(), &words, 1, "", 0, &out, &out_length,
                                      &said, &said_length);
  const std::string answer = out == nullptr ? "" : std::string(out, out_length);
  const std::string complaint = said == nullptr ? "" : std::string(said, said_length);
  ceph_buffer_free(out);
  ceph_buffer_free(said);
  const std::string what = command.value("prefix", "") + " at mds." + mds;
  if (number != 0) return tl::unexpected(FromErrno(number, what, complaint));
  json parsed = json::parse(answer, nullptr, false);
  if (parsed.is_discarded()) return json::array();
  return parsed;
}

Status ThrowawayClient::Mount(const std::string& path) {
  const int number = ceph_mount(mount_, path.c_str());
  if (number == 0) return {};
  return tl::unexpected(FromErrno(number, "mounting " + path));
}

void ThrowawayClient::Unmount() { (void)ceph_unmount(mount_); }

Result<std::optional<std::string>> ThrowawayClient::Attribute(const std::string& path,
                                                              const std::string& attribute) {
  std::array<char, 64> text{};
  const int length =
      ceph_getxattr(mount_, path.c_str(), attribute.c_str(), text.data(), text.size());
  if (length == -ENODATA) return std::nullopt;
  if (length < 0) return tl::unexpected(FromErrno(length, "reading " + attribute + " of " + path));
  return std::string(text.data(), static_cast<size_t>(length));
}

Status ThrowawayClient::MakeDirectory(const std::string& path) {
  const int number = ceph_mkdir(mount_, path.c_str(), 0755);
  if (number == 0 || number == -EEXIST) return {};
  return tl::unexpected(FromErrno(number, "making the directory " + path));
}

Status ThrowawayClient::Unlink(const std::string& path) {
  const int number = ceph_unlink(mount_, path.c_str());
  if (number == 0 || number == -ENOENT) return {};
  return tl::unexpected(FromErrno(number, "removing " + path));
}

Status ThrowawayClient::Rename(const std::string& from, const std::string& to) {
  const int number = ceph_rename(mount_, from.c_str(), to.c_str());
  if (number == 0 || number == -ENOENT || number == -ENOTEMPTY) return {};
  return tl::unexpected(FromErrno(number, "renaming " + from));
}

std::optional<uint64_t> ThrowawayClient::Number(const std::string& attribute) {
  const auto text = Attribute("/", attribute);
  if (!text || !*text) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] =
      std::from_chars((*text)->data(), (*text)->data() + (*text)->size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

}  // namespace gantry::cephfs
