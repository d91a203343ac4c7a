// SPDX-License-Identifier: Apache-2.0
#include "host/services/counters.hpp"

#include <algorithm>

namespace gantry::services {
namespace {

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kCounterNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

}  // namespace

bool Counters::Add(const std::string& backend, const std::string& name, uint64_t add) {
  const std::lock_guard lock(mutex_);
  ByName& own = counters_[backend];
  const auto counter = own.find(name);
  if (counter != own.end()) {
    counter->second += add;
    return true;
  }
  if (!IsName(name) || own.size() >= kCountersMax) {
    ++dropped_;
    return false;
  }
  own[name] = add;
  return true;
}

std::map<std::string, Counters::ByName> Counters::Read() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

uint64_t Counters::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace gantry::services
