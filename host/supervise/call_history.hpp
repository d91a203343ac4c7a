// SPDX-License-Identifier: Apache-2.0
// What a worker was asked lately, kept for the report of its death: the operation and the handle or
// the key of each call, its attempt and how it went. Never the request, which may hold what is
// nobody's business. Bounded; not thread-safe; time passed in.
#pragma once

#include <gantry/channel.pb.h>

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "host/base/clock.hpp"

namespace gantry::supervise {

constexpr size_t kCallsKeptMax = 32;      // ended ones, and as many that are under way
constexpr size_t kCallNameBytesMax = 96;  // of a handle or key

class CallHistory {
 public:
  void Begun(uint64_t id, const channel::Call& call, uint32_t attempt, base::TimePoint now);
  void Abandoned(uint64_t id);
  void Ended(uint64_t id, int32_t code, base::TimePoint now);

  // "DELETE_VOLUME v-1: in flight for 12 ms", newest first.
  std::vector<std::string> UnderWay(base::TimePoint now, size_t max) const;
  // "DELETE_VOLUME v-1: in flight for 12 ms", then "GET_VOLUME v-2 attempt 2: NOT_FOUND after 3 ms";
  // those under way first, newest first.
  std::vector<std::string> Describe(base::TimePoint now) const;

 private:
  struct Entry {
    channel::Operation operation{};
    std::string name;
    uint32_t attempt = 1;
    bool abandoned = false;
    base::TimePoint begun;
    base::TimePoint ended;
    int32_t code = 0;
  };
  static std::string Text(const Entry& entry);

  std::map<uint64_t, Entry> under_way_;
  std::deque<Entry> ended_;  // newest first
};

}  // namespace gantry::supervise
