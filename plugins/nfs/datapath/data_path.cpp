// SPDX-License-Identifier: Apache-2.0
// The life of an opened volume, and what all operations share.
#include "plugins/nfs/datapath/data_path.hpp"

#include <algorithm>
#include <cerrno>
#include <gantry/gantry.hpp>
#include <system_error>

#include "plugins/nfs/datapath/convert.hpp"

namespace gantry::nfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

int64_t ToHostTime(TimePoint time) {
  if (time == kNoDeadline) return INT64_MAX;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

uint32_t TransferBytes(uint32_t server_max) {
  if (server_max == 0) return kTransferBytesDefault;
  return std::min<uint32_t>(server_max, GANTRY_FS_IO_BYTES_MAX);
}

int OpenErrno(const NfsError& error) {
  if (error.failure == Failure::kUnreachable) return EHOSTUNREACH;
  if (error.code == plugin::code::kNotFound) return ENOENT;
  return ToErrno(error);
}

}  // namespace

NfsDataPath::NfsDataPath(const gantry_datapath_host& host, Log log)
    : host_(host),
      log_(std::move(log)),
      connection_(host, *this, log_),
      calls_(
          connection_, journal_,
          [this](gantry_op op, int error_number) {
            if (op == open_op_) return AbortOpen(error_number);
            uncommitted_.GiveUp(op);
            host_.done_error(host_.ctx, op, error_number);
          },
          [this](const NfsError& error) { uncommitted_.OnCommitFailed(error); }),
      uncommitted_(host, connection_, calls_, log_) {}

NfsDataPath::~NfsDataPath() {
  ForgetLocator();
  if (armed_ns_ != INT64_MAX) host_.timer(host_.ctx, INT64_MAX, nullptr, nullptr);
}

void NfsDataPath::OnReply(const Reply& reply) { calls_.OnReply(reply); }

bool NfsDataPath::OnRepeat(const Unanswered& call, bool same_port) {
  return calls_.OnRepeat(call, same_port);
}

void NfsDataPath::OnTurnEnd() { const Turn turn(*this); }

void NfsDataPath::OnTime() {
  const Turn turn(*this);
  armed_ns_ = INT64_MAX;
  const auto now = steady_clock::now();
  calls_.OnTime(now, options_.timeout_error);
  connection_.OnTime(now);
}

void NfsDataPath::Settle() {
  while (std::exchange(again_, false)) {
    calls_.Pump();
    connection_.Flush();
    connection_.Settle();
    if (uncommitted_.Continue(steady_clock::now())) again_ = true;
    BeginWaitingWrites();
    FinishAbort();
    ContinueOpen();
    ContinueClose();
  }
  ArmTimer();
}

void NfsDataPath::ArmTimer() {
  TimePoint next = std::min({calls_.NextAt(), connection_.NextAt(), uncommitted_.NextAt()});
  if (phase_ == Phase::kClosing) next = std::min(next, close_by_);
  const int64_t at_ns = ToHostTime(next);
  if (at_ns == armed_ns_) return;
  armed_ns_ = at_ns;
  host_.timer(
      host_.ctx, at_ns, [](void* self) { static_cast<NfsDataPath*>(self)->OnTime(); }, this);
}

// --- open

void NfsDataPath::Open(gantry_op op, const gantry_datapath_open& request) {
  const Turn turn(*this);
  const auto refuse = [&](int error_number, std::string_view why) {
    log_(GANTRY_LOG_ERROR, "open: " + std::string(why));
    host_.done_error(host_.ctx, op, error_number);
  };
  if (phase_ != Phase::kClosed) return refuse(EBUSY, "it is open already");
  if (locator_ && !locator_->done()) return refuse(EAGAIN, "an earlier attempt is still resolving");
  ForgetLocator();
  auto options = ParseOptions(request.parameters);
  if (!options) return refuse(EINVAL, options.error().message);
  options_ = *std::move(options);
  if (const auto prepared = connection_.Prepare(); !prepared) {
    return refuse(ENOMEM, prepared.error().message);
  }
  if (const auto prepared = journal_.Prepare(host_); !prepared) {
    return refuse(ENOMEM, prepared.error().message);
  }
  if (!connection_.HasStream()) {
    journal_.LosePast();
    if (const auto made = connection_.MakeStream(); !made) {
      return refuse(ENOMEM, made.error().message);
    }
  }
  const PathState& state = connection_.state();
  adopted_ = state.magic == PathState::kMagic;
  if (adopted_ && state.fingerprint != options_.fingerprint) {
    return refuse(EINVAL, "the memory belongs to another volume");
  }
  if (adopted_ && state.unstable != PathState::kNone) {
    if (const auto prepared = uncommitted_.Prepare(); !prepared) {
      const bool unknown = prepared.error().failure == Failure::kInvalid;
      return refuse(unknown ? EPROTONOSUPPORT : ENOMEM, prepared.error().message);
    }
  }
  const auto deadline = steady_clock::now() + milliseconds(kOpenMsMax);
  const gantry_fs_context context{};
  if (!calls_.Begin(op, CredentialsOf(context), false, deadline)) {
    return refuse(EBUSY, "the operation is under way already");
  }
  open_op_ = op;
  if (adopted_) {
    phase_ = Phase::kConnecting;
    if (!connection_.started()) {
      connection_.Start(state.address, options_.server.reserved_port,
                        "server " + options_.server.host);
    }
    return;
  }
  try {
    locator_ = std::make_unique<Locator>(options_.server, *CredentialsOf(context), deadline);
  } catch (const std::system_error& e) {
    log_(GANTRY_LOG_ERROR, std::string("open: no thread to look the server up with: ") + e.what());
    return calls_.GiveUp(op, EAGAIN);
  }
  phase_ = Phase::kLocating;
  locator_watched_ =
      host_.watch(
          host_.ctx, locator_->fd(), GANTRY_FS_READABLE,
          [](void* self, uint32_t) { static_cast<NfsDataPath*>(self)->OnLocated(); }, this) == 0;
  if (!locator_watched_) calls_.GiveUp(op, EIO);
}

void NfsDataPath::OnLocated() {
  const Turn turn(*this);
  if (!locator_->done()) return;
  const auto found = locator_->Take();
  ForgetLocator();
  if (phase_ != Phase::kLocating) return;
  if (!found) return FailOpen(found.error());
  root_ = found->root;
  connection_.state().address = found->address;
  phase_ = Phase::kConnecting;
  connection_.Start(found->address, options_.server.reserved_port,
                    "server " + options_.server.host);
}

void NfsDataPath::ForgetLocator() {
  if (!locator_) return;
  if (std::exchange(locator_watched_, false)) {
    host_.watch(host_.ctx, locator_->fd(), 0, nullptr, nullptr);
  }
  locator_.reset();
}

// Nothing new is asked before all of a predecessor's calls are answered: that is the fence.
void NfsDataPath::ContinueOpen() {
  if (phase_ != Phase::kConnecting || !connection_.up() || connection_.outstanding() > 0) return;
  phase_ = Phase::kWalking;
  again_ = true;
  journal_.PastSettled();
  if (!adopted_) return AskSizes();
  const FileHandle root = connection_.state().root;
  calls_.To<nfs::GetAttr>(open_op_, {root}, [this, root](auto reply, bool) {
    if (!reply) return FailOpen(reply.error());
    FinishOpen(root, reply->attributes);
  });
}

void NfsDataPath::AskSizes() {
  calls_.To<nfs::FsInfo>(open_op_, {root_}, [this](auto reply, bool) {
    if (!reply) return FailOpen(reply.error());
    connection_.state().read_bytes_max = TransferBytes(reply->read_max);
    connection_.state().write_bytes_max = TransferBytes(reply->write_max);
    Walk(root_, 0);
  });
}

// One name at a time, so that no symbolic link leads out of the share.
void NfsDataPath::Walk(FileHandle at, size_t depth) {
  calls_.To<nfs::GetAttr>(open_op_, {at}, [this, at, depth](auto reply, bool) {
    if (!reply) return FailOpen(reply.error());
    const auto named = [&] {
      std::string path = options_.server.export_path;
      for (size_t i = 0; i < depth; ++i) path += "/" + options_.path[i];
      return path;
    };
    if (reply->attributes.type != FileType::kDirectory) {
      const bool link = reply->attributes.type == FileType::kSymbolicLink;
      log_(GANTRY_LOG_ERROR, "open: " + named() + " is " +
                                 (link ? "a symbolic link" : "no directory") +
                                 ", expected a directory");
      return AbortOpen(link ? ELOOP : ENOTDIR);
    }
    if (depth == options_.path.size()) return AskNameLimit(at, reply->attributes);
    calls_.To<nfs::Lookup>(open_op_, {at, options_.path[depth]}, [this, depth](auto found, bool) {
      if (!found) return FailOpen(Wrap(found.error(), "path \"" + options_.path[depth] + "\""));
      Walk(found->handle, depth + 1);
    });
  });
}

void NfsDataPath::AskNameLimit(const FileHandle& root, const Attributes& attributes) {
  calls_.To<nfs::PathConf>(open_op_, {root}, [this, root, attributes](auto reply, bool) {
    if (!reply) return FailOpen(reply.error());
    PathState& state = connection_.state();
    state.name_bytes_max = std::min<uint32_t>(reply->name_bytes_max, GANTRY_FS_NAME_BYTES_MAX);
    state.root = root;
    state.fingerprint = options_.fingerprint;
    state.magic.store(PathState::kMagic, std::memory_order_release);
    FinishOpen(root, attributes);
  });
}

void NfsDataPath::FinishOpen(const FileHandle& root, const Attributes& attributes) {
  phase_ = Phase::kServing;
  DoneNode(std::exchange(open_op_, 0), root, attributes);
}

void NfsDataPath::FailOpen(const NfsError& error) {
  log_(GANTRY_LOG_ERROR, "open: " + error.message);
  AbortOpen(OpenErrno(error));
}

// May be called from within a reply, so the connection is stopped at the end of the turn.
void NfsDataPath::AbortOpen(int error_number) {
  calls_.End(open_op_);
  phase_ = Phase::kAborting;
  open_errno_ = error_number;
}

void NfsDataPath::FinishAbort() {
  if (phase_ != Phase::kAborting) return;
  if (locator_ && locator_->done()) ForgetLocator();
  // A predecessor's connection is worth keeping for the next attempt; one of this attempt has seen
  // only questions.
  if (!adopted_) ForgetConnection();
  phase_ = Phase::kClosed;
  host_.done_error(host_.ctx, std::exchange(open_op_, 0), open_errno_);
}

void NfsDataPath::ForgetConnection() {
  connection_.Stop();
  uncommitted_.Clear();
  connection_.Forget();
  calls_.Forget();
  journal_.Clear();
}

// --- close

void NfsDataPath::Close(gantry_op op) {
  const Turn turn(*this);
  calls_.GiveUpAll(ESHUTDOWN);
  FinishAbort();
  phase_ = Phase::kClosing;
  uncommitted_.CommitAll();
  close_op_ = op;
  close_by_ = steady_clock::now() +
              milliseconds(uncommitted_.empty() ? kCloseMsMax : kCloseUncommittedMsMax);
}

void NfsDataPath::ContinueClose() {
  if (phase_ != Phase::kClosing) return;
  const bool waits = (connection_.up() && calls_.left_behind() > 0) || !uncommitted_.empty();
  if (waits && steady_clock::now() < close_by_) return;
  if (calls_.left_behind() > 0) {
    log_(GANTRY_LOG_WARNING, std::to_string(calls_.left_behind()) +
                                 " changes that were given up are not answered; the server may "
                                 "still make them");
  }
  if (!uncommitted_.empty()) {
    log_(GANTRY_LOG_ERROR, "closed before the server has committed the " +
                               std::to_string(uncommitted_.bytes()) + " bytes written last to " +
                               std::to_string(uncommitted_.files()) + " files; they may be lost");
  }
  if (locator_watched_) host_.watch(host_.ctx, locator_->fd(), 0, nullptr, nullptr);
  locator_watched_ = false;
  ForgetConnection();
  directories_.Clear();
  new_directories_.Clear();
  listings_ = {};
  full_.clear();
  lone_.clear();
  phase_ = Phase::kClosed;
  host_.done(host_.ctx, std::exchange(close_op_, 0));
}

// --- shared by the operations

void NfsDataPath::Interrupt(gantry_op op) {
  const Turn turn(*this);
  calls_.GiveUp(op, EINTR);
}

std::shared_ptr<const Credentials> NfsDataPath::CredentialsOf(const gantry_fs_context& context) {
  const uint32_t uid = options_.fixed ? options_.fixed->uid : context.uid;
  const uint32_t gid = options_.fixed ? options_.fixed->gid : context.gid;
  const size_t count = options_.fixed ? 0 : std::min<size_t>(context.group_count, kGroupsMax);
  const std::span<const uint32_t> groups(context.groups, count);
  if (known_.credentials && known_.uid == uid && known_.gid == gid &&
      std::ranges::equal(known_.groups, groups)) {
    return known_.credentials;
  }
  known_ = {uid,
            gid,
            {groups.begin(), groups.end()},
            std::make_shared<const Credentials>(*Credentials::Sys(uid, gid, groups))};
  return known_.credentials;
}

bool NfsDataPath::Begin(gantry_op op, const gantry_fs_context& context) {
  const bool replayed = (context.flags & GANTRY_FS_REPLAYED) != 0;
  // The host asks for all repetitions before anything new.
  if (!replayed && journal_.has_past()) journal_.DropPast();
  const auto deadline =
      options_.timeout ? steady_clock::now() + *options_.timeout : TimePoint(kNoDeadline);
  int error_number = 0;
  if (phase_ != Phase::kServing) {
    error_number = ESHUTDOWN;
  } else if (!calls_.Begin(op, CredentialsOf(context), replayed, deadline)) {
    error_number = EAGAIN;
  }
  if (error_number != 0) host_.done_error(host_.ctx, op, error_number);
  return error_number == 0;
}

void NfsDataPath::Done(gantry_op op) {
  calls_.End(op);
  host_.done(host_.ctx, op);
}

void NfsDataPath::Fail(gantry_op op, int error_number) {
  calls_.End(op);
  host_.done_error(host_.ctx, op, error_number);
}

void NfsDataPath::Fail(gantry_op op, const NfsError& error) {
  // What a server refuses is the caller's business; what makes no sense is worth a line.
  if (error.failure != Failure::kStatus) log_(GANTRY_LOG_WARNING, error.message);
  Fail(op, ToErrno(error));
}

// `echo` is how a change that has been made already is refused the second time; this is of our own one.
bool NfsDataPath::IsEcho(const NfsError& error, bool ambiguous, NfsStatus3 echo) const {
  return options_.is_sole_writer && ambiguous && error.Is(echo);
}

// `echo` is how a change that has been made already is refused the second time.
void NfsDataPath::FailChange(gantry_op op, const NfsError& error, bool ambiguous, NfsStatus3 echo) {
  if (ambiguous && error.Is(echo)) {
    log_(GANTRY_LOG_WARNING,
         error.message + ", after an attempt whose outcome is unknown: ends with EIO");
    return Fail(op, EIO);
  }
  Fail(op, error);
}

// Those of a file that is held may be of a time when the server had lost what was written to it. To ask
// for them is to wait.
void NfsDataPath::DoneAttributes(gantry_op op, const FileHandle& node,
                                 const std::optional<Attributes>& attributes) {
  if (!attributes || calls_.IsHeld(node)) {
    return calls_.To<nfs::GetAttr>(op, {node}, [this, op, node](auto reply, bool) {
      if (!reply) return Fail(op, reply.error());
      DoneAttributes(op, node, reply->attributes);
    });
  }
  const gantry_fs_attributes out = ToHost(*attributes);
  calls_.End(op);
  host_.done_attributes(host_.ctx, op, &out);
}

void NfsDataPath::DoneNode(gantry_op op, const FileHandle& node,
                           const std::optional<Attributes>& attributes) {
  if (!attributes || calls_.IsHeld(node)) {
    return calls_.To<nfs::GetAttr>(op, {node}, [this, op, node](auto reply, bool) {
      if (!reply) return Fail(op, reply.error());
      DoneNode(op, node, reply->attributes);
    });
  }
  const gantry_fs_attributes out = ToHost(*attributes);
  calls_.End(op);
  host_.done_node(host_.ctx, op, {node.bytes.data(), node.size}, &out);
}

void NfsDataPath::DoneByName(gantry_op op, const FileHandle& directory, std::string_view name) {
  calls_.To<nfs::Lookup>(op, {directory, name},
                         [this, op, rewrites = uncommitted_.rewrites()](auto reply, bool) {
                           if (!reply) return Fail(op, reply.error());
                           DoneNode(op, reply->handle, SinceRewrite(rewrites, reply->attributes));
                         });
}

}  // namespace gantry::nfs
