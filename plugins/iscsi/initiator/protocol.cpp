// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/protocol.hpp"

#include <algorithm>
#include <utility>

#include "plugins/iscsi/target/reply_line.hpp"

namespace gantry::iscsi::initiator {

using plugin::Fail;
using plugin::Result;
using target::FieldReader;
using target::FieldWriter;
using target::Is;
namespace code = plugin::code;

constexpr uint32_t kVersion = target::kProtocolVersion;
constexpr target::TextRule kDeviceRule{1, 32, target::IsText, "the name of a block device"};

// --- fields; found by the structs' namespace ------------------------------------------------------

struct Envelope {
  uint32_t version = 0;
  std::string operation;
  uint64_t deadline_ms = 0;
};
template <class F, Is<Envelope> T>
void Fields(F& f, T& x) {
  f.Number("version", x.version, target::kNumber32);
  f.Text("operation", x.operation, target::kWordRule);
  f.Number("deadline_ms", x.deadline_ms,
           target::NumberRule{static_cast<uint64_t>(kRequestMsMax.count())});
}
template <class F, Is<Unit> T>
void Fields(F& f, T& x) {
  f.Text("target", x.target, target::kIqnRule);
  f.Number("lun", x.lun, target::NumberRule{kLunMax});
  f.Text("initiator", x.initiator, target::kIqnRule);
  f.Text("identity", x.identity, target::kNaaRule);
}
struct Name {
  std::string name;
};
template <class F, Is<Name> T>
void Fields(F& f, T& x) {
  f.Text("name", x.name, kDeviceRule);
}
template <class F, Is<Nothing> T>
void Fields(F& /*f*/, T& /*x*/) {}
template <class F, Is<Probe> T>
void Fields(F& /*f*/, T& /*x*/) {}
template <class F, Is<Paths> T>
void Fields(F& f, T& x) {
  std::vector<Name> names;
  for (const auto& name : x.names) names.push_back({name});
  f.List("names", names, kPortalsMax);
  if constexpr (!std::is_const_v<T>) {
    x.names.clear();
    for (auto& name : names) x.names.push_back(std::move(name.name));
  }
  f.Flag("multipath", x.multipath);
  f.Number("size_bytes", x.size_bytes, target::kSizeRule);
}
template <class F, Is<Attach> T>
void Fields(F& f, T& x) {
  f.Object("unit", x.unit);
  f.List("portals", x.portals, kPortalsMax);
  f.Number("size_bytes", x.size_bytes, target::kSizeRule);
  f.Flag("multipath", x.multipath);
  f.Number("io_timeout_s", x.io_timeout_s, target::NumberRule{kIoTimeoutSecondsMax});
  f.Optional("chap", x.chap);
}
template <class F, Is<Rescan> T>
void Fields(F& f, T& x) {
  f.Object("unit", x.unit);
}
template <class F, Is<Detached> T>
void Fields(F& f, T& x) {
  f.Text("remark", x.remark, target::kMessageRule);
}
template <class F, Is<Detach> T>
void Fields(F& f, T& x) {
  f.Object("unit", x.unit);
}

namespace {

using nlohmann::json;

template <size_t kIndex = 0>
Result<Request> ReadRequest(std::string_view operation, const json& object) {
  if constexpr (kIndex < std::variant_size_v<Request>) {
    using T = std::variant_alternative_t<kIndex, Request>;
    if (operation != T::kOperation) return ReadRequest<kIndex + 1>(operation, object);
    GANTRY_PLUGIN_TRY_ASSIGN(T request, FieldReader::Read<T>(object, "request."));
    return Request(std::move(request));
  } else {
    return Fail(code::kUnimplemented,
                "operation: \"" + std::string(operation) + "\": not one of version 1");
  }
}

Result<RequestLine> ReadLine(const json& line) {
  if (!line.is_object()) return Fail(code::kInvalidArgument, "line: expected an object of JSON");
  json envelope = line;
  envelope.erase("request");
  GANTRY_PLUGIN_TRY_ASSIGN(const auto head, FieldReader::Read<Envelope>(envelope, ""));
  if (head.version != kVersion)
    return Fail(code::kUnimplemented, "version: " + std::to_string(head.version) + ": expected " +
                                          std::to_string(kVersion));
  const auto body = line.find("request");
  if (body == line.end())
    return Fail(code::kInvalidArgument, "request: missing: expected an object");
  GANTRY_PLUGIN_TRY_ASSIGN(auto request, ReadRequest(head.operation, *body));
  return RequestLine{std::chrono::milliseconds(head.deadline_ms), std::move(request)};
}

}  // namespace

std::string EncodeRequest(std::chrono::milliseconds deadline, const Request& request) {
  return std::visit(
      [&](const auto& body) {
        const auto left = std::clamp(deadline, std::chrono::milliseconds(0), kRequestMsMax);
        json line = FieldWriter::Write(
            Envelope{kVersion, std::string(body.kOperation), static_cast<uint64_t>(left.count())});
        line["request"] = FieldWriter::Write(body);
        std::string text = target::Dump(line);
        target::WipeAll(&line["request"]);
        return text;
      },
      request);
}

Result<RequestLine> DecodeRequest(std::string_view text) {
  if (text.size() > target::kLineBytesMax)
    return Fail(code::kInvalidArgument, "line: " + std::to_string(text.size()) +
                                            " bytes: expected at most " +
                                            std::to_string(target::kLineBytesMax));
  json line = json::parse(text, nullptr, false);
  auto request = ReadLine(line);
  target::WipeAll(&line);
  return request;
}

template <class Reply>
std::string EncodeReply(const Result<Reply>& reply) {
  return target::EncodeReply(reply);
}
template <class Reply>
Result<Reply> DecodeReply(std::string_view line) {
  return target::DecodeReply<Reply>(line);
}

#define GANTRY_INITIATOR_REPLY(Reply)                            \
  template std::string EncodeReply<Reply>(const Result<Reply>&); \
  template Result<Reply> DecodeReply<Reply>(std::string_view)
GANTRY_INITIATOR_REPLY(Nothing);
GANTRY_INITIATOR_REPLY(Paths);
GANTRY_INITIATOR_REPLY(Detached);
#undef GANTRY_INITIATOR_REPLY

}  // namespace gantry::iscsi::initiator
