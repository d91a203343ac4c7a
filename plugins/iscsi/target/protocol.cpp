// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/protocol.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "plugins/iscsi/target/reply_line.hpp"

namespace gantry::iscsi::target {
namespace {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

// The numbers are the indices.
constexpr std::array<std::string_view, 17> kCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

// What is around every request and reply.
struct Envelope {
  uint32_t version = 0;
  std::string operation;
  std::string owner;
  uint64_t deadline_ms = 0;
};
template <class F, Is<Envelope> T>
void Fields(F& f, T& x) {
  f.Number("version", x.version, kNumber32);
  f.Text("operation", x.operation, kWordRule);
  f.Text("owner", x.owner, kOwnerRule);
  f.Number("deadline_ms", x.deadline_ms, NumberRule{static_cast<uint64_t>(kDeadlineMsMax.count())});
}

// What the fields alone cannot say.
plugin::Status Check(const CreateVolume& request) {
  if ((request.content.kind == ContentKind::kNone) != request.content.handle.empty())
    return Fail(code::kInvalidArgument,
                "request.content.handle: \"" + request.content.handle +
                    "\": expected a handle with kind volume or snapshot, none with kind none");
  if (request.limit_bytes != 0 && request.limit_bytes < request.required_bytes)
    return Fail(code::kInvalidArgument,
                "request.limit_bytes: " + std::to_string(request.limit_bytes) +
                    ": expected 0 or at least required_bytes, " +
                    std::to_string(request.required_bytes));
  return {};
}
plugin::Status Check(const PublishVolume& request) {
  if (!request.chap) return {};
  const std::string prefix = request.handle + ".";
  const Chap& chap = *request.chap;
  if (!chap.user.starts_with(prefix))
    return Fail(code::kInvalidArgument, "request.chap.user: \"" + chap.user +
                                            "\": expected one that begins with " + prefix);
  if (chap.user_in.empty() && chap.password_in.empty()) return {};
  if (!chap.user_in.starts_with(prefix) || chap.user_in == chap.user)
    return Fail(code::kInvalidArgument, "request.chap.user_in: \"" + chap.user_in +
                                            "\": expected one that begins with " + prefix +
                                            " and is not chap.user");
  // A secret that both sides prove would let either be its own mirror.
  if (chap.password_in.size() < kChapPasswordBytesMin || chap.password_in == chap.password)
    return Fail(code::kInvalidArgument,
                "request.chap.password_in: a secret: expected 12 to 128 bytes that are not "
                "chap.password");
  return {};
}
plugin::Status Check(const RunTask& request) {
  if ((request.task.kind == TaskKind::kCopy) == request.task.key.empty())
    return Fail(code::kInvalidArgument,
                "request.task.key: \"" + request.task.key +
                    "\": expected volume/<handle> or snapshot/<handle> with kind copy, else none");
  return {};
}
template <class T>
plugin::Status Check(const T& /*request*/) {
  return {};
}

template <class T>
Result<Request> ReadAs(const json& object) {
  GANTRY_PLUGIN_TRY_ASSIGN(T request, FieldReader::Read<T>(object, "request."));
  GANTRY_PLUGIN_TRY(Check(request));
  return Request(std::move(request));
}

template <size_t kIndex = 0>
Result<Request> ReadRequest(std::string_view operation, const json& object) {
  if constexpr (kIndex < std::variant_size_v<Request>) {
    using T = std::variant_alternative_t<kIndex, Request>;
    if (operation == T::kOperation) return ReadAs<T>(object);
    return ReadRequest<kIndex + 1>(operation, object);
  } else {
    return Fail(code::kUnimplemented,
                "operation: \"" + std::string(operation) + "\": not one of version 1");
  }
}

Result<RequestLine> ReadLine(const json& line) {
  if (!line.is_object()) return Fail(code::kInvalidArgument, "line: expected an object of JSON");
  json envelope = line;
  envelope.erase("request");
  const auto version = line.find("version");
  if (version != line.end() && version->is_number_unsigned() && *version != kProtocolVersion)
    return Fail(code::kUnimplemented, "version: " + version->dump() + ": expected 1");
  GANTRY_PLUGIN_TRY_ASSIGN(const auto head, FieldReader::Read<Envelope>(envelope, ""));
  const auto body = line.find("request");
  if (body == line.end())
    return Fail(code::kInvalidArgument, "request: missing: expected an object");
  GANTRY_PLUGIN_TRY_ASSIGN(auto request, ReadRequest(head.operation, *body));
  return RequestLine{{head.owner, std::chrono::milliseconds(head.deadline_ms)}, std::move(request)};
}

}  // namespace

std::string EncodeRequest(const Call& call, const Request& request) {
  return std::visit(
      [&call](const auto& body) {
        json line = FieldWriter::Write(Envelope{
            kProtocolVersion, std::string(body.kOperation), call.owner,
            static_cast<uint64_t>(
                std::clamp(call.deadline, std::chrono::milliseconds(0), kDeadlineMsMax).count())});
        line["request"] = FieldWriter::Write(body);
        std::string text = Dump(line);
        WipeAll(&line["request"]);
        return text;
      },
      request);
}

Result<RequestLine> DecodeRequest(std::string_view text) {
  if (text.size() > kLineBytesMax)
    return Fail(code::kInvalidArgument, "line: " + std::to_string(text.size()) +
                                            " bytes: expected at most " +
                                            std::to_string(kLineBytesMax));
  json line = json::parse(text, nullptr, false);
  auto request = ReadLine(line);
  WipeAll(&line);
  return request;
}

#define GANTRY_TARGET_REPLY(Reply)                               \
  template std::string EncodeReply<Reply>(const Result<Reply>&); \
  template Result<Reply> DecodeReply<Reply>(std::string_view)
GANTRY_TARGET_REPLY(Empty);
GANTRY_TARGET_REPLY(Description);
GANTRY_TARGET_REPLY(Capacity);
GANTRY_TARGET_REPLY(CreatedVolume);
GANTRY_TARGET_REPLY(Volume);
GANTRY_TARGET_REPLY(VolumePage);
GANTRY_TARGET_REPLY(Deleted);
GANTRY_TARGET_REPLY(CreatedSnapshot);
GANTRY_TARGET_REPLY(Snapshot);
GANTRY_TARGET_REPLY(SnapshotPage);
GANTRY_TARGET_REPLY(Progress);
#undef GANTRY_TARGET_REPLY

std::string_view CodeName(int32_t code) {
  return code >= 0 && static_cast<size_t>(code) < kCodeNames.size()
             ? kCodeNames[static_cast<size_t>(code)]
             : "UNKNOWN";
}

int32_t CodeOf(std::string_view name) {
  const auto* const found = std::find(kCodeNames.begin() + 1, kCodeNames.end(), name);
  return found == kCodeNames.end() ? code::kUnknown
                                   : static_cast<int32_t>(found - kCodeNames.begin());
}

void WipeText(std::string* text) {
  explicit_bzero(text->data(), text->size());
  text->clear();
}

void Wipe(Chap* chap) {
  WipeText(&chap->password);
  WipeText(&chap->password_in);
}

}  // namespace gantry::iscsi::target
