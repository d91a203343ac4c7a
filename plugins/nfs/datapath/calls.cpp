// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/calls.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <random>

namespace gantry::nfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A repetition that meets its own work answers differently and can't be told from a refusal, so it
// may not be made where the server can't know it for a repetition. (LINK is proven by a LOOKUP,
// exclusive CREATE by its verifier, the others come to the same.)
bool IsFragile(uint32_t procedure) {
  switch (procedure) {
    case MakeDir::kNumber:
    case SymLink::kNumber:
    case MakeNode::kNumber:
    case Remove::kNumber:
    case RemoveDir::kNumber:
    case Rename::kNumber:
      return true;
    default:
      return false;
  }
}

// Changes that the journal knows. A COMMIT may be made again at any time, and a WRITE as long as its
// caller has not been answered; the parts of one are asked for again in the order of the answers, so
// their steps would be other ones in a repetition.
bool IsJournaled(uint32_t procedure) {
  return procedure != Commit::kNumber && procedure != Write::kNumber;
}
bool MayBeUnjournaled(uint32_t procedure) { return procedure == SetAttr::kNumber; }

constexpr gantry_op kOwnOperation = gantry_op{1} << 63;  // The host counts from below.

// So that a server receives the first of many large calls while the others are being copied.
constexpr uint64_t kSendAtBytes = 128 * 1024;

NfsError OutcomeUnknown() {
  return {Failure::kLost, NfsStatus3::kOk, true, 0,
          "the connection was lost, and the outcome can't be known"};
}

// Tags of a predecessor's calls must not be met again.
uint64_t FirstTag() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace

bool Touched::Meets(const Touched& other) const {
  for (uint32_t i = 0; i < count_; ++i) {
    for (uint32_t k = 0; k < other.count_; ++k) {
      if (handles_[i] == other.handles_[k]) return true;
    }
  }
  return false;
}

Calls::Calls(Connection& connection, Journal& journal, OnGivenUp on_given_up,
             OnCommitFailed on_commit_failed)
    : connection_(connection),
      journal_(journal),
      on_given_up_(std::move(on_given_up)),
      on_commit_failed_(std::move(on_commit_failed)),
      next_tag_(FirstTag()) {}

bool Calls::Begin(gantry_op op, std::shared_ptr<const Credentials> credentials, bool replayed,
                  TimePoint deadline) {
  if (operations_.size() >= kOperationsMax) return false;
  const auto [begun, is_new] = operations_.try_emplace(op);
  if (!is_new) return false;
  begun->second.credentials = std::move(credentials);
  begun->second.replayed = replayed;
  begun->second.deadline = deadline;
  if (deadline != kNoDeadline) deadlines_.emplace(deadline, op);
  return true;
}

gantry_op Calls::BeginOwn(std::shared_ptr<const Credentials> credentials, bool patient) {
  const gantry_op op = kOwnOperation | ++own_operations_;
  Operation& operation = operations_[op];
  operation.credentials = std::move(credentials);
  operation.own = true;
  operation.patient = patient;
  return op;
}

bool Calls::IsChanging(const FileHandle& file) const {
  const Touched touched(file);
  return std::ranges::any_of(
      sent_, [&](const auto& item) { return item.second->touched_.Meets(touched); });
}

void Calls::Add(std::unique_ptr<Ask> ask) {
  const auto found = operations_.find(ask->op_);
  if (found == operations_.end()) return;
  Operation& operation = found->second;
  ++operation.asks;
  if (!ask->touched_.empty() && IsJournaled(ask->procedure())) {
    ask->step_ = operation.steps++;
    if (operation.replayed) ask->entry_ = journal_.TakePast(ask->op_, ask->step_, ask->procedure());
    if (ask->entry_ != nullptr) {
      operation.entries.push_back(ask->entry_);
      journaled_.push_back(std::move(ask));
      return;
    }
  }
  queue_.push_back(std::move(ask));
}

// False: the journal is full for now.
bool Calls::HasEntry(Ask& ask) {
  if (ask.entry_ != nullptr || ask.touched_.empty() || !IsJournaled(ask.procedure())) return true;
  // Nobody asks for an own operation again.
  if (operations_.at(ask.op_).own) return true;
  ask.entry_ = journal_.Take(ask.op_, ask.step_, ask.procedure());
  if (ask.entry_ == nullptr) return MayBeUnjournaled(ask.procedure());
  operations_.at(ask.op_).entries.push_back(ask.entry_);
  return true;
}

void Calls::GiveJournaled(std::unique_ptr<Ask> ask) {
  const JournalEntry& entry = *ask->entry_;
  if (entry.state == JournalEntry::kLost) {
    Settled(*ask);
    return ask->Fail(OutcomeUnknown(), true);
  }
  ask->ambiguous_ = entry.ambiguous != 0;
  // A copy, since decoding may write to it.
  std::array<std::byte, kJournalReplyBytesMax> body = entry.reply;
  Reply reply;
  reply.procedure = entry.procedure;
  reply.body = std::span(body).first(std::min<size_t>(entry.reply_bytes, body.size()));
  Settled(*ask);
  GiveAnswer(std::move(ask), reply);
}

// A change waits for changes of the same file that were left behind.
bool Calls::MayGo(const Ask& ask) const {
  if (!held_.empty() && ask.subject() != nullptr && IsHeld(*ask.subject()) &&
      !operations_.at(ask.op_).own)
    return false;
  if (ask.touched_.empty()) return true;
  return std::none_of(left_behind_.begin(), left_behind_.end(),
                      [&](const auto& old) { return old.second.Meets(ask.touched_); });
}

void Calls::Pump() {
  for (JournalEntry* entry : std::exchange(ended_, {})) journal_.Free(*entry);
  while (!journaled_.empty()) {
    for (auto& ask : std::exchange(journaled_, {})) {
      if (Has(ask->op_)) GiveJournaled(std::move(ask));
    }
  }
  for (auto at = queue_.begin(); at != queue_.end();) {
    RpcStream* stream = connection_.Writable();
    if (stream == nullptr) break;
    if (!MayGo(**at) || !HasEntry(**at)) {
      ++at;
      continue;
    }
    const Operation& operation = operations_.at((*at)->op_);
    const uint64_t tag = next_tag_;
    JournalEntry* const entry = (*at)->entry_;
    JournalEntry::State before{};
    if (entry != nullptr) before = Journal::Ask(*entry, tag, (*at)->ambiguous_);
    const auto submitted = (*at)->Submit(*stream, *operation.credentials, tag);
    if (!submitted && entry != nullptr) Journal::Unask(*entry, before);
    if (submitted) {
      ++next_tag_;
      sent_.emplace(tag, std::move(*at));
      at = queue_.erase(at);
      if (connection_.unsent_bytes() >= kSendAtBytes) connection_.Flush();
      continue;
    }
    const Failure failure = submitted.error().failure;
    if (failure == Failure::kBusy || failure == Failure::kLost) break;
    failed_.emplace_back(std::move(*at), submitted.error());
    at = queue_.erase(at);
  }
  for (auto& [ask, error] : std::exchange(failed_, {})) {
    if (!Has(ask->op_)) continue;
    Settled(*ask);
    ask->Fail(std::move(error), ask->ambiguous_);
  }
}

void Calls::Settled(const Ask& ask) {
  const auto found = operations_.find(ask.op_);
  if (found != operations_.end()) --found->second.asks;
}

void Calls::OnReply(const Reply& reply) {
  const auto found = sent_.find(reply.tag);
  const bool unheard = found == sent_.end() || found->second->op_ == 0;
  if (unheard && reply.procedure == Commit::kNumber)
    if (const auto said = DecodeReply<Commit>(reply); !said) on_commit_failed_(said.error());
  if (found == sent_.end()) return journal_.PastAnswer(reply);
  std::unique_ptr<Ask> ask = std::move(found->second);
  sent_.erase(found);
  left_behind_.erase(reply.tag);
  if (ask->op_ == 0) return;
  Settled(*ask);
  ask->ambiguous_ = ask->ambiguous_ || reply.repeated;
  if (ask->entry_ != nullptr && reply.head.status == ReplyStatus::kSuccess) {
    Journal::Answer(*ask->entry_, reply, ask->ambiguous_);
  }
  GiveAnswer(std::move(ask), reply);
}

void Calls::GiveAnswer(std::unique_ptr<Ask> ask, const Reply& reply) {
  auto patience = Patience::kJukeboxAndServerFault;
  // A COMMIT that failed is not asked again: the server says so only once.
  if (ask->procedure() == Commit::kNumber || ask->faults_ + 1 >= kServerFaultTriesMax)
    patience = Patience::kJukebox;
  if (!operations_.at(ask->op_).patient) patience = Patience::kNone;
  const NfsStatus3 status = ask->Answer(reply, patience, ask->ambiguous_);
  if (status == NfsStatus3::kOk) return;
  if (status == NfsStatus3::kServerFault) {
    ++ask->faults_;
    ask->ambiguous_ = true;
  }
  ask->jukebox_ms_ = std::clamp(2 * ask->jukebox_ms_, kJukeboxWaitMsMin, kJukeboxWaitMsMax);
  ++operations_.at(ask->op_).asks;
  const auto at = steady_clock::now() + milliseconds(ask->jukebox_ms_);
  delayed_.emplace(at, std::move(ask));
}

bool Calls::OnRepeat(const Unanswered& call, bool same_port) {
  const auto found = sent_.find(call.tag);
  if (found == sent_.end()) {
    // A predecessor's.
    if (same_port || !IsFragile(call.procedure)) return true;
    journal_.PastDropped(call.tag, call.sent);
    return false;
  }
  Ask& ask = *found->second;
  const bool wanted = ask.op_ != 0;
  // It is looked at again whether it may go.
  if (!held_.empty() && wanted && ask.touched_.empty()) {
    queue_.push_back(std::move(found->second));
    sent_.erase(found);
    return false;
  }
  if (!call.sent) {
    if (wanted) return true;
    left_behind_.erase(call.tag);
    sent_.erase(found);
    return false;
  }
  if (same_port || !IsFragile(call.procedure)) return true;
  if (wanted) {
    if (ask.entry_ != nullptr) Journal::Lose(*ask.entry_);
    failed_.emplace_back(std::move(found->second), OutcomeUnknown());
  }
  left_behind_.erase(call.tag);
  sent_.erase(found);
  return false;
}

void Calls::End(gantry_op op) {
  const auto found = operations_.find(op);
  if (found == operations_.end()) return;
  if (found->second.deadline != kNoDeadline) {
    auto [at, end] = deadlines_.equal_range(found->second.deadline);
    while (at != end && at->second != op) ++at;
    if (at != end) deadlines_.erase(at);
  }
  if (found->second.asks > 0) {
    std::erase_if(queue_, [op](const auto& ask) { return ask->op_ == op; });
    std::erase_if(delayed_, [op](const auto& item) { return item.second->op_ == op; });
    std::erase_if(failed_, [op](const auto& item) { return item.first->op_ == op; });
    std::erase_if(journaled_, [op](const auto& ask) { return ask->op_ == op; });
    for (auto& [tag, ask] : sent_) {
      if (ask->op_ != op) continue;
      ask->op_ = 0;
      ask->entry_ = nullptr;
      if (!ask->touched_.empty()) left_behind_.emplace(tag, ask->touched_);
    }
  }
  ended_.insert(ended_.end(), found->second.entries.begin(), found->second.entries.end());
  operations_.erase(found);
}

void Calls::GiveUp(gantry_op op, int error_number) {
  if (!Has(op)) return;
  End(op);
  on_given_up_(op, error_number);
}

void Calls::GiveUpAll(int error_number) {
  std::vector<gantry_op> all;
  for (const auto& [op, operation] : operations_)
    if (!operation.own) all.push_back(op);
  for (const gantry_op op : all) GiveUp(op, error_number);
}

void Calls::Forget() {
  sent_.clear();
  left_behind_.clear();
  ended_.clear();
}

TimePoint Calls::NextAt() const {
  TimePoint next = kNoDeadline;
  if (!deadlines_.empty()) next = deadlines_.begin()->first;
  if (!delayed_.empty()) next = std::min(next, delayed_.begin()->first);
  return next;
}

void Calls::OnTime(TimePoint now, int timeout_error) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    GiveUp(deadlines_.begin()->second, timeout_error);
  }
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    queue_.push_back(std::move(delayed_.extract(delayed_.begin()).mapped()));
  }
}

}  // namespace gantry::nfs
