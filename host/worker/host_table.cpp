// SPDX-License-Identifier: Apache-2.0
#include "host/worker/host_table.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "host/worker/emit.hpp"
#include "host/worker/operations.hpp"
#include "host/worker/plugin_text.hpp"

namespace gantry::worker {
namespace {

constexpr size_t kMetricNameBytesMax = 64;

bool IsMetricName(std::string_view name) {
  return !name.empty() && name.size() <= kMetricNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

gantry_code CodeOf(const base::Error& error) { return static_cast<gantry_code>(error.code); }

// What does not fit is cut, `*length` is the whole.
void CopyOut(std::string_view from, void* buffer, size_t capacity, size_t* length) {
  if (length != nullptr) *length = from.size();
  const size_t size = std::min(from.size(), buffer == nullptr ? 0 : capacity);
  if (size > 0) std::memcpy(buffer, from.data(), size);
}

}  // namespace

struct HostTable::Functions {
  static HostTable& Of(void* ctx) { return *static_cast<HostTable*>(ctx); }

  static const void* Extension(void* ctx, const char* id) noexcept {
    HostTable& table = Of(ctx);
    if (id == nullptr) return nullptr;
    const std::string_view name(id);
    if (name == GANTRY_EXT_CALL) return &table.call_api_;
    if (name == GANTRY_EXT_KV) return &table.kv_api_;
    if (name == GANTRY_EXT_EXEC) return &table.exec_api_;
    if (name == GANTRY_EXT_SECRET) return &table.secret_api_;
    if (name == GANTRY_EXT_JOB) return &table.job_api_;
    if (name == GANTRY_EXT_METRIC) return &table.metric_api_;
    return nullptr;
  }
  static void Log(void* ctx, gantry_call call, int32_t level, gantry_str message) noexcept {
    Of(ctx).log_(call, level, ToView(message));
  }

  // ---- gantry.call/1

  static void Finish(void* ctx, gantry_call call, gantry_code code, gantry_str message) noexcept {
    Of(ctx).calls_.Finish(call, code, message);
  }
  static int64_t DeadlineNs(void* ctx, gantry_call call) noexcept {
    return Of(ctx).calls_.DeadlineNs(call);
  }
  static uint32_t Attempt(void* ctx, gantry_call call) noexcept {
    return Of(ctx).calls_.Attempt(call);
  }
  static int32_t Cancelled(void* ctx, gantry_call call) noexcept {
    return Of(ctx).calls_.Cancelled(call) ? 1 : 0;
  }
  static int32_t OnCancel(void* ctx, gantry_call call, void (*fn)(void*), void* arg) noexcept {
    return Of(ctx).calls_.OnCancel(call, fn, arg) ? 0 : -1;
  }
  static int32_t Secret(void* ctx, gantry_call call, gantry_str key, gantry_str* value) noexcept {
    gantry_str found{};
    const bool given = Of(ctx).calls_.Secret(call, ToView(key), &found);
    if (value != nullptr) *value = found;
    return given ? 1 : 0;
  }
  static gantry_bytes RequestBytes(void* ctx, gantry_call call) noexcept {
    return Of(ctx).calls_.RequestBytes(call);
  }
  static void* Alloc(void* ctx, gantry_call call, size_t bytes, size_t alignment) noexcept {
    return Of(ctx).calls_.Allocate(call, bytes, alignment);
  }

  static int32_t Send(HostTable& table, gantry_call id, base::Result<channel::Emit> item) {
    if (!item) {
      table.calls_.Break(id, item.error().message);
      return 0;
    }
    const auto call = table.calls_.Find(id);
    if (call != nullptr && !MayEmit(call->message().operation(), item->item_case())) {
      table.calls_.Break(id, "an item that " +
                                 channel::Operation_Name(call->message().operation()) +
                                 " has no use for");
      return 0;
    }
    return table.calls_.Emit(id, *item) ? 1 : 0;
  }
  template <class Item>
  static int32_t Emit(void* ctx, gantry_call call, const Item* item) noexcept {
    HostTable& table = Of(ctx);
    if (item == nullptr || item->size < sizeof(item->size)) {
      table.calls_.Break(call, item == nullptr ? "a NULL item" : "an item without its size");
      return 0;
    }
    return Send(table, call, ToEmit(CopyStruct(item)));
  }
  static int32_t EmitPublishContext(void* ctx, gantry_call call, const gantry_map* map) noexcept {
    const gantry_map empty{};
    return Send(Of(ctx), call, ToEmit(map == nullptr ? empty : *map));
  }

  // ---- services

  // The reply, or the code to answer the plugin with.
  static base::Result<channel::HostReply> Ask(void* ctx, channel::HostCall call, gantry_call id,
                                              int64_t deadline_ns) {
    GANTRY_TRY_ASSIGN(auto answer, AskAll(ctx, std::move(call), id, deadline_ns));
    return std::move(answer.reply);
  }
  static base::Result<HostCalls::Answer> AskAll(void* ctx, channel::HostCall call, gantry_call id,
                                                int64_t deadline_ns) {
    call.set_call_id(id);
    GANTRY_TRY_ASSIGN(auto answer, Of(ctx).services_.Call(std::move(call), deadline_ns));
    if (answer.reply.code() == GANTRY_OK) return answer;
    return base::Fail(static_cast<base::Code>(answer.reply.code()), answer.reply.message());
  }
  static bool IsKey(gantry_str key) {
    return IsName(ToView(key, GANTRY_KV_KEY_BYTES_MAX + 1), GANTRY_KV_KEY_BYTES_MAX);
  }

  static gantry_code KvGet(void* ctx, gantry_str key, void* buffer, size_t capacity, size_t* length,
                           uint64_t* version, int64_t deadline_ns) noexcept {
    if (length != nullptr) *length = 0;
    if (version != nullptr) *version = 0;
    if (!IsKey(key)) return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    call.mutable_kv_get()->set_key(std::string(ToView(key)));
    const auto reply = Ask(ctx, std::move(call), 0, deadline_ns);
    if (!reply) return CodeOf(reply.error());
    CopyOut(reply->value(), buffer, capacity, length);
    if (version != nullptr) *version = reply->version();
    return GANTRY_OK;
  }
  static gantry_code KvPut(void* ctx, gantry_str key, gantry_bytes value, uint64_t expected_version,
                           int64_t deadline_ns) noexcept {
    if (!IsKey(key) || value.len > GANTRY_KV_VALUE_BYTES_MAX ||
        (value.ptr == nullptr && value.len > 0))
      return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    channel::KvPut& put = *call.mutable_kv_put();
    put.set_key(std::string(ToView(key)));
    if (value.len > 0) put.set_value(value.ptr, value.len);
    put.set_expected_version(expected_version);
    const auto reply = Ask(ctx, std::move(call), 0, deadline_ns);
    return reply ? GANTRY_OK : CodeOf(reply.error());
  }
  static gantry_code KvRemove(void* ctx, gantry_str key, uint64_t expected_version,
                              int64_t deadline_ns) noexcept {
    if (!IsKey(key)) return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    call.mutable_kv_remove()->set_key(std::string(ToView(key)));
    call.mutable_kv_remove()->set_expected_version(expected_version);
    const auto reply = Ask(ctx, std::move(call), 0, deadline_ns);
    return reply ? GANTRY_OK : CodeOf(reply.error());
  }
  static gantry_code KvScan(void* ctx, gantry_str prefix, int32_t (*visit)(void*, gantry_str),
                            void* arg, int64_t deadline_ns) noexcept {
    if ((prefix.len > 0 && !IsKey(prefix)) || visit == nullptr) return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    call.mutable_kv_scan()->set_prefix(std::string(ToView(prefix)));
    const auto reply = Ask(ctx, std::move(call), 0, deadline_ns);
    if (!reply) return CodeOf(reply.error());
    for (const std::string& key : reply->keys())
      if (visit(arg, {key.data(), key.size()}) == 0) break;
    return GANTRY_OK;
  }

  static gantry_code ExecRun(void* ctx, gantry_call id, const gantry_exec_request* from,
                             void* output, size_t output_capacity, void* error,
                             size_t error_capacity, gantry_exec_result* to) noexcept {
    const gantry_exec_request request = CopyStruct(from);
    const bool bad_argv = request.argv.items == nullptr || request.argv.count == 0 ||
                          request.argv.count > kEmitItemsMax;
    if (bad_argv || (request.input.ptr == nullptr && request.input.len > 0))
      return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    channel::Exec& exec = *call.mutable_exec();
    for (size_t i = 0; i < request.argv.count; ++i) {
      const std::string_view argument = ToView(request.argv.items[i]);
      if (!IsCleanText(argument)) return GANTRY_INVALID_ARGUMENT;
      exec.add_argv(std::string(argument));
    }
    if (request.input.len > 0) exec.set_input(request.input.ptr, request.input.len);
    const auto reply = Ask(ctx, std::move(call), id, request.deadline_ns);
    if (!reply) {
      // "PERMISSION_DENIED names the argument" (host.h): a code alone names nothing.
      Of(ctx).log_(id, GANTRY_LOG_WARNING, "exec: " + reply.error().message);
      return CodeOf(reply.error());
    }
    gantry_exec_result result{};
    CopyOut(reply->value(), output, output_capacity, &result.output_length);
    CopyOut(reply->error_output(), error, error_capacity, &result.error_length);
    if (to != nullptr) {
      result.exit_status = reply->exit_status();
      // The plugin says how much of the struct it knows; one that says nothing knows the first form.
      result.size = to->size == 0 ? sizeof(result) : to->size;
      std::memcpy(to, &result, std::min<size_t>(result.size, sizeof(result)));
    }
    return GANTRY_OK;
  }

  static gantry_code JobRun(void* ctx, gantry_call id, const gantry_job_request* from, void* output,
                            size_t capacity, size_t* length) noexcept {
    if (length != nullptr) *length = 0;
    const gantry_job_request request = CopyStruct(from);
    const std::string_view name = ToView(request.name, GANTRY_JOB_NAME_BYTES_MAX + 1);
    if (!IsCleanText(name) || request.input.len > GANTRY_JOB_INPUT_BYTES_MAX ||
        (request.input.ptr == nullptr && request.input.len > 0))
      return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    call.mutable_job()->set_name(std::string(name));
    if (request.input.len > 0) call.mutable_job()->set_input(request.input.ptr, request.input.len);
    auto reply = Ask(ctx, std::move(call), id, request.deadline_ns);
    if (!reply) {
      Of(ctx).log_(id, GANTRY_LOG_WARNING, "job: " + reply.error().message);
      return CodeOf(reply.error());
    }
    CopyOut(reply->value(), output, capacity, length);
    base::Wipe(*reply->mutable_value());
    return GANTRY_OK;
  }

  static gantry_code SecretGet(void* ctx, gantry_str name, void* buffer, size_t capacity,
                               size_t* length, int64_t deadline_ns) noexcept {
    if (length != nullptr) *length = 0;
    if (!IsKey(name)) return GANTRY_INVALID_ARGUMENT;
    channel::HostCall call;
    call.mutable_secret_get()->set_name(std::string(ToView(name)));
    const auto answer = AskAll(ctx, std::move(call), 0, deadline_ns);
    if (!answer) return CodeOf(answer.error());
    if (!answer->secret) return GANTRY_UNAVAILABLE;  // a credential in the open is not taken
    CopyOut(answer->secret->view(), buffer, capacity, length);
    return GANTRY_OK;
  }

  static void Count(void* ctx, gantry_str name, uint64_t add) noexcept {
    HostTable& table = Of(ctx);
    const std::string_view text = ToView(name, kMetricNameBytesMax + 1);
    if (!IsMetricName(text))
      return table.misbehaviour_.Note(
          "bad metric", "count: the name is \"" + Utf8(text) + "\", expected 1 to 64 of [a-z0-9_]");
    channel::HostCall call;
    call.mutable_count()->set_name(std::string(text));
    call.mutable_count()->set_add(add);
    table.services_.Tell(call);
  }
};

HostTable::HostTable(CallTable& calls, HostCalls& services, Misbehaviour& misbehaviour, Log log)
    : calls_(calls), services_(services), misbehaviour_(misbehaviour), log_(std::move(log)) {
  using F = Functions;
  host_ = {sizeof(host_), GANTRY_ABI_MINOR, this, &F::Extension, &F::Log};
  call_api_ = {sizeof(call_api_),
               0,
               this,
               &F::Finish,
               &F::DeadlineNs,
               &F::Attempt,
               &F::Cancelled,
               &F::OnCancel,
               &F::Secret,
               &F::RequestBytes,
               &F::Alloc,
               &F::Emit<gantry_volume>,
               &F::Emit<gantry_snapshot>,
               &F::Emit<gantry_group_snapshot>,
               &F::Emit<gantry_capacity>,
               &F::EmitPublishContext,
               &F::Emit<gantry_block_range>,
               &F::Emit<gantry_source>,
               &F::Emit<gantry_task>,
               &F::Emit<gantry_task_progress>,
               &F::Emit<gantry_state>};
  kv_api_ = {sizeof(kv_api_), 0, this, &F::KvGet, &F::KvPut, &F::KvRemove, &F::KvScan};
  exec_api_ = {sizeof(exec_api_), 0, this, &F::ExecRun};
  secret_api_ = {sizeof(secret_api_), 0, this, &F::SecretGet};
  job_api_ = {sizeof(job_api_), 0, this, &F::JobRun};
  metric_api_ = {sizeof(metric_api_), 0, this, &F::Count};
}

}  // namespace gantry::worker
