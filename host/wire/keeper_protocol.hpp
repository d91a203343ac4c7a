// SPDX-License-Identifier: Apache-2.0
// What is said on the keeper's sockets: by gantryd (or gantryctl) and by the data-path processes.
// One message a datagram of a SOCK_SEQPACKET socket, fds with it: messages are small and whole, so
// neither side keeps half-read state for a peer. Versioned and tagged, because a keeper outlives
// many releases of gantryd; what a tag means never changes, an unknown tag is ignored, an unknown
// kind is answered UNIMPLEMENTED. No protobuf: the keeper shall stay small.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::wire {

constexpr uint32_t kKeeperMagic = 0x4b504b47;  // "GKPK"
constexpr uint16_t kKeeperVersion = 1;
constexpr size_t kKeeperMessageBytesMax = 64 * 1024;
constexpr size_t kKeeperFieldsMax = 4096;
constexpr size_t kKeeperFdsMax = 40;
constexpr size_t kVolumeIdBytesMax = 256;
constexpr size_t kFaultBytesMax = 1024;
constexpr size_t kDataPathsMax = 1024;
// Of one data path.
constexpr size_t kRegionsMax = 16;
constexpr uint64_t kRegionBytesMax = 64 * 1024 * 1024;
constexpr size_t kKeptFdsMax = 16;
// Of the name in kHeld of an fd that the plugin gave to keep; what it is, is the plugin's choice.
constexpr std::string_view kKeptFdPrefix = "kept ";
constexpr std::string_view kHeldProcess = "process";  // and of the pidfd of who serves
constexpr size_t kKeptNameBytesMax = 64;

enum class KeeperKind : uint16_t {
  kReply = 1,  // to a request, by its id; `code` is 0 or why not, kMessage says it
  // From gantryd.
  // kVolume, kArgument..., kPlugin, kTakeOver, kStandby; fds: fuse, memory, description
  kSpawn = 10,
  kStop,   // kVolume, kTimeoutMs: ends and forgets it; not there: OK
  kList,   // kAfter: a page of groups as kChanged has them, and kMore
  kFds,    // kVolume: the reply carries copies of fuse, memory, description, then the kept
  kHold,   // from now on kHeld comes for every volume and change; the reply has kInstance
  kAdopt,  // a kHeld of an earlier keeper
  // kVolume, kPlugin, kTimeoutMs; fd: a description. Answered when a process of it serves, or, with
  // an error, when it does not and the one before is started again.
  kUpgrade,
  // To gantryd: what List would now say of one volume.
  kChanged = 20,  // kVolume, kPid, kServing, kFault, kFaultCode, kTakeOvers, kPlugin, kStandby
  // With copies of every fd: all that another keeper needs to go on (keeper/kept_path.cpp).
  kHeld,
  kForgotten,  // kVolume: stopped; copies of its fds are to be closed
  // From a data path.
  kServing = 30,
  kFault,    // kFault, kFaultCode: it is about to end
  kRegion,   // kName, kBytes: the reply has kFresh and the region's memfd
  kKeepFd,   // kName, with the fd
  kTakeFd,   // kName: the reply carries a copy
  kDropFd,   // kName
  kWaiting,  // from a standby: it has loaded what it may
  kTaken,    // likewise: it has what kServe brought
  // To a data path.
  kStopServing = 40,  // kTimeoutMs: end what is under way, then the process
  kServe,             // to a standby, with what it was not given before; fds: fuse, memory
  kHandOver,  // kTimeoutMs: end what is under way, and the process; a successor does what is left
};

// A data path that succeeds another ends so when it could not begin for want of memory or time
// (EX_TEMPFAIL of sysexits.h): that is no fault of the volume's.
constexpr int kTryAgainExit = 75;

enum class KeeperTag : uint16_t {
  kMessage = 1,
  kVolume = 2,
  kArgument = 3,
  kTimeoutMs = 4,
  kAfter = 5,
  kPid = 6,
  kServing = 7,
  kFault = 8,
  kMore = 9,
  kName = 10,
  kBytes = 11,
  kFresh = 12,
  kFaultCode = 13,  // beside kFault: a base::Code
  kTakeOver = 14,   // not 0: a process that dies is followed by another
  kTakeOvers = 15,  // how often that has happened
  kServed = 16,     // not 0: one of the volume's processes came as far as to serve
  kInstance = 17,   // names a keeper's process
  kPlugin = 18,     // the file that the process loads
  kStandby = 19,    // not 0: one is wanted (kSpawn, kHeld), one waits (kChanged)
  kTrial = 20,      // not 0: the process is of a new version that has not proved itself (kHeld)
  kPrevious = 21,   // the plugin before the last upgrade, while that is young (kHeld)
};

struct KeeperMessage {
  KeeperKind kind = KeeperKind::kReply;
  uint64_t id = 0;  // of a request, chosen by its sender; its reply has the same
  base::Code code = base::Code::kOk;
  std::vector<std::pair<KeeperTag, std::string>> fields;  // in order
  std::vector<base::UniqueFd> fds;

  KeeperMessage& Add(KeeperTag tag, std::string_view value);
  KeeperMessage& Add(KeeperTag tag, uint64_t value);
  // The first of that tag; empty or 0 when there is none. A number has exactly 8 bytes.
  std::string_view Text(KeeperTag tag) const;
  uint64_t Number(KeeperTag tag) const;
  static uint64_t ToNumber(std::string_view value);
};

// Never waits. `fds` are borrowed. RESOURCE_EXHAUSTED: the peer does not read; UNAVAILABLE: it is
// gone; INVALID_ARGUMENT: a limit is broken.
base::Status SendKeeper(int socket, const KeeperMessage& message, const std::vector<int>& fds = {});

// Never waits: nullopt when there is nothing. UNAVAILABLE: end of stream; INTERNAL: what came
// breaks the protocol, and the socket is to be closed.
base::Result<std::optional<KeeperMessage>> ReceiveKeeper(int socket);

}  // namespace gantry::wire
