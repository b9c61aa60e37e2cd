// A call of SIP's, from either side: INVITE, 200, ACK, and BYE, each sent again until it is answered (RFC 3261 13, 15, 17). For voip.cc.
//
// Neither socket nor clock: hear(message), tick(now), and what is to be sent goes to a callback. One call, of sound, at once; further ones are busy.
// Missing here, and a telephone must have: registration and passwords, proxies (messages go where those before came from), CANCEL, changes of a call.
#pragma once
#include <chrono>
#include <functional>

#include "sip.h"

namespace sip {

using Time = std::chrono::steady_clock::time_point;

enum class State : std::uint8_t { idle, inviting, ringing, answered, talking, ending, ended };  // answered: our 200 has no ACK yet

class Call {
 public:
  using Send = std::function<void(std::string_view message, const Address& to)>;

  // `own`: where we hear SIP and sound, and which laws we know; `tag`: 16 letters that nobody can guess.
  Call(const Address& own, Sound sound, std::string tag, Send send)
      : own_(own), sound_(std::move(sound)), tag_(std::move(tag)), send_(std::move(send)) {}

  void invite(const Address& peer, Time now) {
    is_caller_ = true, peer_ = peer;
    id_ = tag_ + "@" + own_.ip.to_string();
    local_ = "<sip:gannet@" + own_.to_string() + ">;tag=" + tag_, remote_ = "<sip:" + peer.to_string() + ">", target_ = "sip:" + peer.to_string();
    state_ = State::inviting;
    repeat(request("INVITE", 1, invite_branch_ = new_branch(), emit_sound(sound_)), now);
  }
  void hang_up(Time now) {
    if (state_ != State::talking && state_ != State::answered) return;
    state_ = State::ending;
    repeat(request("BYE", 2, bye_branch_ = new_branch()), now);
  }

  void hear(std::string_view text, const Address& from, Time now) {
    const auto message = parse(text);
    if (!message) return static_cast<void>(++unreadable);
    const bool is_known = message->status != 0 ? hear_response(*message, now) : hear_request(*message, from, now);
    strangers += is_known ? 0 : 1;
  }
  // Sends again what nobody answers: after half a second, then twice as long each time; after 32 s in vain the call is over, after 3 minutes where it
  // rings. To be called often.
  void tick(Time now) {
    if (state_ == State::ringing && now >= begun_ + ringing) return end("nobody takes the call");
    if (state_ != State::inviting && state_ != State::answered && state_ != State::ending) return;
    if (now >= begun_ + 64 * t1) return state_ == State::answered ? hang_up(now) : end("nobody answers");
    if (now < next_) return;
    pause_ = state_ == State::inviting ? 2 * pause_ : std::min<std::chrono::milliseconds>(2 * pause_, t2);
    next_ = now + pause_;
    ++again;
    send_(last_, peer_);
  }

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const Sound& remote_sound() const { return remote_sound_; }  // when it talks
  [[nodiscard]] const std::string& why() const { return why_; }              // it ended; empty: as it should
  std::uint64_t again = 0, unreadable = 0, strangers = 0;

 private:
  static constexpr std::chrono::milliseconds t1{500}, t2{4000}, ringing{180'000};

  void repeat(std::string message, Time now) {
    last_ = std::move(message), begun_ = now, pause_ = t1, next_ = now + t1;
    send_(last_, peer_);
  }
  void end(std::string why) { state_ = State::ended, why_ = std::move(why); }

  std::string new_branch() { return "z9hG4bK" + tag_ + std::to_string(++branches_); }
  [[nodiscard]] std::string request(const std::string& method, unsigned number, const std::string& branch, std::string_view body = "") const {
    return emit(own_,
                method + ' ' + target_ + " SIP/2.0\r\nVia: SIP/2.0/UDP " + own_.to_string() + ";branch=" + branch + "\r\nMax-Forwards: 70\r\nFrom: " +
                    local_ + "\r\nTo: " + remote_ + "\r\nCall-ID: " + id_ + "\r\nCSeq: " + std::to_string(number) + ' ' + method + "\r\n",
                body);
  }
  [[nodiscard]] std::string response(const Message& to, std::string_view status, std::string_view body = "") const {
    std::string head = "SIP/2.0 " + std::string(status) + "\r\n";
    for (const auto& [name, value] : to.headers) {
      if (same_word(name, "Via") || same_word(name, "From") || same_word(name, "Call-ID") || same_word(name, "CSeq"))
        head.append(name).append(": ").append(value).append("\r\n");
      if (same_word(name, "To")) head += "To: " + value + (to.parameter("To", "tag").empty() ? ";tag=" + tag_ : "") + "\r\n";
    }
    return emit(own_, head + "Allow: INVITE, ACK, BYE, OPTIONS\r\n", body);
  }

  bool hear_response(const Message& message, Time now) {
    const bool is_ours = is_caller_ && message.method == "INVITE", is_pending = state_ == State::inviting || state_ == State::ringing;
    if (message.header("Call-ID") != id_ || message.parameter("Via", "branch") != (is_ours ? invite_branch_ : bye_branch_)) return false;
    if (!is_ours) {
      if (state_ == State::ending && message.status >= 200) end(why_);
      return true;
    }
    if (message.status < 200) return state_ = is_pending ? State::ringing : state_, true;
    if (is_pending) remote_ = message.header("To"), peer_tag_ = message.parameter("To", "tag");
    const bool is_accepted = message.status < 300;  // the ACK of a refusal is part of the INVITE, and has its branch (17.1.1.3)
    send_(request("ACK", 1, is_accepted ? new_branch() : invite_branch_), peer_);
    if (!is_pending) return true;  // the ACK before was lost
    if (!is_accepted) return end("refused: " + std::to_string(message.status)), true;
    const auto sound = parse_sound(message.body);
    state_ = State::talking;
    if (sound) return remote_sound_ = *sound, true;
    return hang_up(now), why_ = "the other side takes no sound that we know", true;
  }

  bool hear_request(const Message& message, const Address& from, Time now) {
    const bool is_ours = message.header("Call-ID") == id_ && message.parameter("From", "tag") == peer_tag_ && !id_.empty();
    if (message.method == "ACK") {
      if (is_ours && state_ == State::answered) state_ = State::talking;
      return is_ours;
    }
    if (message.method == "INVITE") {
      if (state_ == State::idle && message.parameter("To", "tag").empty()) return answer(message, from, now), true;
      if (is_ours && state_ == State::answered && message.parameter("Via", "branch") == invite_branch_) return send_(last_, from), true;
      return send_(response(message, is_ours ? "488 Not Acceptable Here" : "486 Busy Here"), from), is_ours;
    }
    if (message.method == "OPTIONS") return send_(response(message, "200 OK"), from), true;
    if (message.method != "BYE") return send_(response(message, "501 Not Implemented"), from), false;
    if (!is_ours || message.parameter("To", "tag") != tag_) return send_(response(message, "481 Call/Transaction Does Not Exist"), from), false;
    send_(response(message, "200 OK"), from);
    if (state_ != State::ended) end("");
    return true;
  }
  void answer(const Message& invite, const Address& from, Time now) {
    auto offer = parse_sound(invite.body);
    if (offer) std::erase_if(offer->types, [&](unsigned type) { return std::ranges::find(sound_.types, type) == sound_.types.end(); });
    if (!offer || offer->types.empty()) return send_(response(invite, "488 Not Acceptable Here"), from);
    peer_ = from, remote_sound_ = *offer;
    id_ = invite.header("Call-ID"), remote_ = invite.header("From"), peer_tag_ = invite.parameter("From", "tag"),
    invite_branch_ = invite.parameter("Via", "branch");
    local_ = std::string(invite.header("To")) + ";tag=" + tag_;
    std::string_view contact = invite.header("Contact");
    target_ = contact.find('<') == contact.npos ? "sip:" + from.to_string() : std::string((cut(contact, "<"), cut(contact, ">")));
    state_ = State::answered;
    repeat(response(invite, "200 OK", emit_sound({sound_.at, {offer->types.front()}})), now);
  }

  Address own_, peer_;
  Sound sound_, remote_sound_;
  std::string tag_, id_, local_, remote_, target_, invite_branch_, bye_branch_, peer_tag_, last_, why_;
  Send send_;
  State state_ = State::idle;
  bool is_caller_ = false;
  unsigned branches_ = 0;
  std::chrono::milliseconds pause_ = t1;
  Time begun_{}, next_{};
};

}  // namespace sip
