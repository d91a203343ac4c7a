// SPDX-License-Identifier: Apache-2.0
// What the backend on a node and gantry-initiator, the program that drives the kernel's initiator
// there, say to each other: one request, one line of JSON on the program's stdin; one reply, one line
// on its stdout, as gantry-target has it (../target/protocol.hpp), so that no secret is ever in
// anybody's argv.
//
// All operations are idempotent and can be finished after a death at any point: repeat them with the
// same fields. Any may fail with INVALID_ARGUMENT (field, value, expected), DEADLINE_EXCEEDED, and
// FAILED_PRECONDITION for what the node lacks (open-iscsi, the kernel's module, multipathd).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "plugins/common/result.hpp"
#include "plugins/iscsi/target/protocol.hpp"

namespace gantry::iscsi::initiator {

using TimePoint = std::chrono::steady_clock::time_point;

inline constexpr uint32_t kLunMax = 16383;  // what SAM's flat addressing has room for
inline constexpr size_t kPortalsMax = 16;
inline constexpr uint32_t kIoTimeoutSecondsMax = 86'400;
inline constexpr std::chrono::milliseconds kRequestMsMax{600'000};

// Whose LUN it is, and what it has to be.
struct Unit {
  std::string target = {};  // IQN
  uint32_t lun = 0;
  std::string initiator = {};  // IQN: the sessions are those of this name alone
  std::string identity = {};   // as in VPD page 0x83, "naa.6..."
  bool operator==(const Unit&) const = default;
};

struct Nothing {
  bool operator==(const Nothing&) const = default;
};

// OK: the kernel has iSCSI over TCP, and iscsid answers.
struct Probe {
  static constexpr std::string_view kOperation = "probe";
  using Reply = Nothing;
  bool operator==(const Probe&) const = default;
};

struct Paths {
  std::vector<std::string> names = {};  // "sdb"; for people
  bool multipath = false;               // there is a map above them, which is to be used
  uint64_t size_bytes = 0;              // of the smallest
  bool operator==(const Paths&) const = default;
};

// Logs in to each portal where there is no session yet, finds the LUN there and nothing else, proves
// every path, and puts them together where several are wanted. OK with at least one path.
// UNAVAILABLE: no portal answers; UNAUTHENTICATED: the target refuses this initiator or its secret,
// or cannot prove itself. FAILED_PRECONDITION: what is there is another disk, or a smaller one; then
// nothing is left of what this request has made.
struct Attach {
  static constexpr std::string_view kOperation = "attach";
  using Reply = Paths;
  Unit unit = {};
  std::vector<target::Portal> portals = {};
  uint64_t size_bytes = 0;
  bool multipath = false;
  uint32_t io_timeout_s = 0;  // after which I/O fails when the target is away; 0: it waits
  std::optional<target::Chap> chap = {};
  bool operator==(const Attach&) const = default;
};

// Every path has its new size. UNAVAILABLE: one of them is down; FAILED_PRECONDITION: none is there,
// or one is another disk by now.
struct Rescan {
  static constexpr std::string_view kOperation = "rescan";
  using Reply = Paths;
  Unit unit = {};
  bool operator==(const Rescan&) const = default;
};

// What is to be logged of an end that was not as it should be: what could not be flushed and why.
struct Detached {
  std::string remark = {};  // empty: nothing
  bool operator==(const Detached&) const = default;
};

// Flushed, its map and its disks are gone, and so are the sessions that no other LUN uses.
// FAILED_PRECONDITION: somebody has it open, and nothing has changed. A target that is away, or that
// has the LUN no longer, keeps nothing from ending: what could not be written by then is lost.
struct Detach {
  static constexpr std::string_view kOperation = "detach";
  using Reply = Detached;
  Unit unit = {};
  bool operator==(const Detach&) const = default;
};

using Request = std::variant<Probe, Attach, Rescan, Detach>;

struct RequestLine {
  std::chrono::milliseconds deadline{0};  // from when the line is read
  Request request;
};

// A line without its newline; to be wiped when there is a secret in it (target::WipeText).
std::string EncodeRequest(std::chrono::milliseconds deadline, const Request& request);
plugin::Result<RequestLine> DecodeRequest(std::string_view line);

template <class Reply>
std::string EncodeReply(const plugin::Result<Reply>& reply);
template <class Reply>
plugin::Result<Reply> DecodeReply(std::string_view line);

}  // namespace gantry::iscsi::initiator
