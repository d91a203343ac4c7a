// SPDX-License-Identifier: Apache-2.0
#include "host/services/helper_protocol.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace gantry::services {
namespace {

using nlohmann::json;

std::string ToBytes(const json& value) {
  std::string bytes;
  json::to_cbor(value, bytes);
  return bytes;
}

// Messages are an object of numbers, texts, lists of texts, and one such object for a device.
constexpr int kDepthMax = 3;

// Stops at what is nested deeper. The parser calls itself once a level, so that 64 KiB of opening
// brackets would exhaust the stack.
class DepthCheck : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ <= kDepthMax; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(size_t) override { return ++depth_ <= kDepthMax; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  int depth_ = 0;
};

base::Result<json> FromBytes(std::string_view bytes) {
  DepthCheck check;
  if (!json::sax_parse(bytes.begin(), bytes.end(), &check, json::input_format_t::cbor))
    return base::Fail(base::Code::kInternal, "a helper message is not understood");
  auto value = json::from_cbor(bytes.begin(), bytes.end(), /*strict=*/true,
                               /*allow_exceptions=*/false);
  if (!value.is_object())
    return base::Fail(base::Code::kInternal, "a helper message is not understood");
  return value;
}

}  // namespace

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceRequest, volume, origin, identity, paths, multipath,
                                   bytes_min, encrypted, readonly, uuid, mkfs_options, again, tag)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceReply, name, top, bytes, content, type, uuid, is_open)

std::string OperationName(HelperOperation operation) {
  switch (operation) {
    case HelperOperation::kMountFilesystem:
      return "mount";
    case HelperOperation::kMountFuse:
      return "mount fuse";
    case HelperOperation::kBind:
      return "bind mount";
    case HelperOperation::kUnmount:
      return "unmount";
    case HelperOperation::kProbe:
      return "statfs";
    case HelperOperation::kRemove:
      return "remove";
    case HelperOperation::kFlush:
      return "flush";
    case HelperOperation::kKnows:
      return "look for filesystem type";
    case HelperOperation::kExamineDevice:
      return "examine device";
    case HelperOperation::kFormatDevice:
      return "format device";
    case HelperOperation::kMountDevice:
      return "mount device";
    case HelperOperation::kBindDevice:
      return "bind device";
    case HelperOperation::kGrowDevice:
      return "grow device";
    case HelperOperation::kReleaseDevice:
      return "release device";
    case HelperOperation::kLocateDevice:
      return "locate device";
    case HelperOperation::kMountDisk:
      return "mount disk";
    case HelperOperation::kAttachDisk:
      return "attach disk";
    case HelperOperation::kAbortDisk:
      return "abort disk";
  }
  return "operation " + std::to_string(static_cast<int>(operation));
}

base::Status HelperReply::ToStatus() const {
  if (code != 0) return base::Fail(static_cast<base::Code>(code), message);
  if (error_number == 0) return {};
  return base::FailErrno(error_number, message);
}

std::string Encode(const HelperRequest& request) {
  json value{{"operation", static_cast<int>(request.operation)},
             {"path", request.path},
             {"source", request.source},
             {"fs_type", request.fs_type},
             {"options", request.options},
             {"attributes", request.attributes},
             {"unmount_flags", request.unmount_flags},
             {"file", request.file},
             {"writeback", request.writeback},
             {"clears_set_id", request.clears_set_id},
             {"no_locks", request.no_locks}};
  if (request.operation >= HelperOperation::kExamineDevice) value["device"] = request.device;
  if (request.group) value["group"] = *request.group;
  return ToBytes(value);
}

std::string Encode(const HelperReply& reply) {
  return ToBytes(json{{"errno", reply.error_number},
                      {"code", reply.code},
                      {"device", reply.device},
                      {"message", reply.message},
                      {"mount_root", reply.mount_root},
                      {"block_bytes", reply.block_bytes},
                      {"blocks", reply.blocks},
                      {"blocks_free", reply.blocks_free},
                      {"blocks_available", reply.blocks_available},
                      {"inodes", reply.inodes},
                      {"inodes_free", reply.inodes_free}});
}

base::Result<HelperRequest> DecodeRequest(std::string_view bytes) {
  GANTRY_TRY_ASSIGN(const json value, FromBytes(bytes));
  try {
    HelperRequest request;
    request.operation = static_cast<HelperOperation>(value.at("operation").get<int>());
    value.at("path").get_to(request.path);
    value.at("source").get_to(request.source);
    value.at("fs_type").get_to(request.fs_type);
    value.at("options").get_to(request.options);
    value.at("attributes").get_to(request.attributes);
    value.at("unmount_flags").get_to(request.unmount_flags);
    value.at("file").get_to(request.file);
    value.at("writeback").get_to(request.writeback);
    value.at("clears_set_id").get_to(request.clears_set_id);
    value.at("no_locks").get_to(request.no_locks);
    if (value.contains("device")) value.at("device").get_to(request.device);
    if (value.contains("group")) request.group = value.at("group").get<uint32_t>();
    return request;
  } catch (const json::exception& error) {
    return base::Fail(base::Code::kInternal, std::string("helper request: ") + error.what());
  }
}

base::Result<HelperReply> DecodeReply(std::string_view bytes) {
  GANTRY_TRY_ASSIGN(const json value, FromBytes(bytes));
  try {
    HelperReply reply;
    value.at("errno").get_to(reply.error_number);
    value.at("code").get_to(reply.code);
    value.at("device").get_to(reply.device);
    value.at("message").get_to(reply.message);
    value.at("mount_root").get_to(reply.mount_root);
    value.at("block_bytes").get_to(reply.block_bytes);
    value.at("blocks").get_to(reply.blocks);
    value.at("blocks_free").get_to(reply.blocks_free);
    value.at("blocks_available").get_to(reply.blocks_available);
    value.at("inodes").get_to(reply.inodes);
    value.at("inodes_free").get_to(reply.inodes_free);
    return reply;
  } catch (const json::exception& error) {
    return base::Fail(base::Code::kInternal, std::string("helper reply: ") + error.what());
  }
}

base::Status SendMessage(int socket, std::string_view bytes, const std::vector<int>& fds) {
  if (bytes.size() > kHelperMessageBytesMax || fds.size() > kHelperFdsMax)
    return base::Fail(base::Code::kInvalidArgument, "a request to a helper is larger than " +
                                                        std::to_string(kHelperMessageBytesMax) +
                                                        " bytes or " +
                                                        std::to_string(kHelperFdsMax) + " fds");
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kHelperFdsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return base::FailErrno(errno, "send to the helper's socket");
  return {};
}

base::Result<std::string> ReceiveMessage(int socket, std::vector<base::UniqueFd>* fds) {
  std::string bytes(kHelperMessageBytesMax, '\0');
  iovec data{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kHelperFdsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received < 0) return base::FailErrno(errno, "receive from the helper's socket");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds->emplace_back(passed);
    }
  }
  if (received == 0) return base::Fail(base::Code::kUnavailable, "the helper's socket was closed");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return base::Fail(base::Code::kInternal, "a helper message was cut");
  bytes.resize(static_cast<size_t>(received));
  return bytes;
}

}  // namespace gantry::services
