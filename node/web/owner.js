// What only the owner may do here: invite a machine, and turn one out. The session comes from `fednode dashboard`.

import { ask, isOwner } from "./api.js";
import { by, clock, h, show } from "./dom.js";

export class Owner {
  constructor() {
    this.ticket = null;
    this.role = "full";
    this.said = "";
  }

  may() {
    return isOwner();
  }

  draw() {
    show(by("owner"), this.may() ? this.panel() : h("p", { class: "note" },
      "To invite or revoke machines from here, type ", h("code", {}, "fednode dashboard"), " on this machine and open the address it prints."));
  }

  panel() {
    return [
      h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); this.invite(); } },
        h("label", { for: "owner-role" }, "Invite a machine as"),
        h("select", { id: "owner-role", onchange: (event) => { this.role = event.target.value; } },
          h("option", { value: "full" }, "full: it may host managers"), h("option", { value: "delegate" }, "delegate: it forwards")),
        h("button", { type: "submit", id: "owner-invite" }, "Make a ticket")),
      this.ticket ? h("div", { class: "ticket" },
        h("p", {}, `Good for one machine until ${clock(this.ticket.expires_unix_s)}. On that machine, type:`),
        h("pre", { tabindex: 0, id: "owner-ticket" }, `fednode join ${this.ticket.ticket}`),
        h("button", { type: "button", onclick: () => this.copy() }, "Copy")) : null,
      h("p", { role: "status", id: "owner-said" }, this.said),
    ];
  }

  /** The button in a member's row. */
  revoke(state, member) {
    if (member.peer_id === state.node.peer_id) return "–";
    return h("button", { type: "button", class: "danger", "aria-label": `Revoke ${member.name}`, onclick: () => this.sure(member) }, "Revoke");
  }

  sure(member) {
    const dialog = by("sure");
    by("sure-text").textContent = `${member.name} will be turned out of the federation at once, and its connections end. It needs a new ticket to come back.`;
    dialog.returnValue = "no";
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") this.done(`/owner/revoke`, { peer_id: member.peer_id }, () => `${member.name} was revoked.`);
    };
    dialog.showModal();
  }

  invite() {
    this.done("/owner/invite", { role: this.role }, (ticket) => {
      this.ticket = ticket;
      return "The ticket is a secret: whoever has it may join.";
    });
  }

  async done(path, body, tell) {
    try {
      this.said = tell(await (await ask(path, { body })).json());
    } catch (error) {
      this.said = error.message;
    }
    this.draw();
  }

  async copy() {
    await navigator.clipboard.writeText(`fednode join ${this.ticket.ticket}`).then(() => { this.said = "Copied."; }, () => { this.said = "The browser does not allow it; select the text instead."; });
    this.draw();
  }
}
