// SPDX-License-Identifier: Apache-2.0
#include "host/base/call_scope.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <random>

namespace gantry::base {
namespace {

constexpr size_t kPrefixDigits = 8;
constexpr size_t kCountDigitsMax = 16;

thread_local CallScope* innermost = nullptr;

std::string MakePrefix() {
  std::random_device random;
  std::array<char, kPrefixDigits + 1> text{};
  std::snprintf(text.data(), text.size(), "%08x", static_cast<unsigned>(random()));
  return std::string(text.data()) + "-";
}

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

CallScope::CallScope(CallFacts facts) : facts_(std::move(facts)), outer_(innermost) {
  innermost = this;
}

CallScope::~CallScope() { innermost = outer_; }

const CallFacts& CallScope::Current() {
  static const CallFacts kNone;
  return innermost == nullptr ? kNone : innermost->facts_;
}

void CallScope::NoteBackend(std::string_view backend) {
  if (innermost != nullptr) innermost->facts_.backend = backend;
}

CallIds::CallIds() : prefix_(MakePrefix()) {}

std::string CallIds::Next() {
  std::array<char, kCountDigitsMax> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), next_.fetch_add(1),
                                 /*base=*/16);
  return prefix_ + std::string(digits.data(), end.ptr);
}

bool IsCallId(std::string_view text) {
  return text.size() > kPrefixDigits + 1 && text.size() <= kPrefixDigits + 1 + kCountDigitsMax &&
         text[kPrefixDigits] == '-' && IsHex(text.substr(0, kPrefixDigits)) &&
         IsHex(text.substr(kPrefixDigits + 1));
}

}  // namespace gantry::base
