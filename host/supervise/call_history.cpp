// SPDX-License-Identifier: Apache-2.0
#include "host/supervise/call_history.hpp"

#include "host/base/error.hpp"

namespace gantry::supervise {
namespace {

// A static volume's id is anybody's text; what goes to a terminal is plain.
std::string Plain(const std::string& text) {
  std::string plain = text.substr(0, kCallNameBytesMax);
  for (char& c : plain)
    if (c < ' ' || c > '~') c = '?';
  return plain;
}

std::string NameOf(const channel::Call& call) {
  if (!call.handle().empty()) return Plain(call.handle());
  if (!call.key().empty()) return "key " + Plain(call.key());
  if (call.has_task()) return Plain(call.task().kind() + " " + call.task().key());
  return {};
}

std::string Milliseconds(base::Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
         " ms";
}

}  // namespace

void CallHistory::Begun(uint64_t id, const channel::Call& call, uint32_t attempt,
                        base::TimePoint now) {
  Entry entry;
  entry.operation = call.operation();
  entry.name = NameOf(call);
  entry.attempt = attempt;
  entry.begun = now;
  under_way_.emplace(id, std::move(entry));
}

void CallHistory::Abandoned(uint64_t id) {
  const auto found = under_way_.find(id);
  if (found != under_way_.end()) found->second.abandoned = true;
}

void CallHistory::Ended(uint64_t id, int32_t code, base::TimePoint now) {
  auto node = under_way_.extract(id);
  if (node.empty()) return;
  node.mapped().code = code;
  node.mapped().ended = now;
  ended_.push_front(std::move(node.mapped()));
  if (ended_.size() > kCallsKeptMax) ended_.pop_back();
}

std::string CallHistory::Text(const Entry& entry) {
  std::string text = channel::Operation_Name(entry.operation);
  if (!entry.name.empty()) text += " " + entry.name;
  if (entry.attempt > 1) text += " attempt " + std::to_string(entry.attempt);
  return text + ": ";
}

std::vector<std::string> CallHistory::UnderWay(base::TimePoint now, size_t max) const {
  std::vector<std::string> texts;
  for (auto call = under_way_.rbegin(); call != under_way_.rend(); ++call) {
    if (texts.size() >= max) break;
    texts.push_back(
        Text(call->second) +
        (call->second.abandoned ? "cancelled and not finished for " : "in flight for ") +
        Milliseconds(now - call->second.begun));
  }
  return texts;
}

std::vector<std::string> CallHistory::Describe(base::TimePoint now) const {
  auto texts = UnderWay(now, kCallsKeptMax);
  for (const auto& entry : ended_)
    texts.push_back(Text(entry) + base::CodeName(static_cast<base::Code>(entry.code)) + " after " +
                    Milliseconds(entry.ended - entry.begun));
  return texts;
}

}  // namespace gantry::supervise
