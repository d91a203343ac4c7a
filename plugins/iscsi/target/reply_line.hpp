// SPDX-License-Identifier: Apache-2.0
// The line that a program of this backend answers with, for any kind of reply: gantry-target's and
// gantry-initiator's. Which fields a reply has is its own business (fields.hpp).
#pragma once

#include <string>
#include <utility>

#include "plugins/iscsi/target/json_fields.hpp"

namespace gantry::iscsi::target {

struct ErrorFields {
  std::string code;
  std::string message;
};
template <class F, Is<ErrorFields> T>
void Fields(F& f, T& x) {
  f.Text("code", x.code, kWordRule);
  f.Text("message", x.message, kMessageRule);
}

template <class Reply>
std::string EncodeReply(const plugin::Result<Reply>& reply) {
  nlohmann::json line = {{"version", kProtocolVersion}};
  if (reply) {
    line["result"] = FieldWriter::Write(*reply);
  } else {
    line["error"] =
        FieldWriter::Write(ErrorFields{std::string(CodeName(reply.error().code)),
                                       reply.error().message.substr(0, kMessageBytesMax)});
  }
  return Dump(line);
}

template <class Reply>
plugin::Result<Reply> DecodeReply(std::string_view text) {
  const auto broken = [](const std::string& why) {
    return plugin::Fail(plugin::code::kInternal, "the program's reply: " + why);
  };
  if (text.size() > kLineBytesMax) return broken("longer than a line may be");
  const nlohmann::json line = nlohmann::json::parse(text, nullptr, false);
  if (!line.is_object()) return broken("no JSON");
  const auto version = line.find("version");
  if (version == line.end() || *version != kProtocolVersion) return broken("not of version 1");
  if (const auto error = line.find("error"); error != line.end()) {
    auto fields = FieldReader::Read<ErrorFields>(*error, "error.");
    if (!fields) return broken(fields.error().message);
    return plugin::Fail(CodeOf(fields->code), std::move(fields->message));
  }
  const auto result = line.find("result");
  if (result == line.end()) return broken("neither result nor error");
  auto reply = FieldReader::Read<Reply>(*result, "result.");
  if (!reply) return broken(reply.error().message);
  return std::move(*reply);
}

}  // namespace gantry::iscsi::target
