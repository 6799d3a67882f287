/* The page of a fetch. Shows the progress until the fetch is finished. Then reloads the page once
   to show the changes. Without JavaScript, the page reloads every ten seconds. */
"use strict";
{
    const LONGEST_PAUSE = 5000; // Milliseconds. The counters are stored every five seconds.
    const MAX_ERRORS = 5; // Consecutive errors in up to 25 seconds, enough for a server restart.

    let section;
    let pause = 1000; // Short at first, because a small fetch ends within seconds.
    let errors = 0;
    let isSent = false; // Has the user submitted a form? A reload would cancel that request.

    /* Replace an element's content only if the content differs, so that buttons keep the focus. */
    function show(html) {
        const template = document.createElement("template");
        template.innerHTML = html;
        const fresh = template.content.firstElementChild;
        const name = fresh.dataset.iletimerkeziLive;
        const old = document.querySelector(`[data-iletimerkezi-live="${name}"]`);
        if (old && !old.isEqualNode(fresh)) {
            old.replaceChildren(...fresh.childNodes);
        }
    }

    async function poll() {
        const response = await fetch(section.dataset.iletimerkeziProgress);
        if (!response.ok) {
            throw new Error(response.statusText);
        }
        const answer = await response.json(); // Throws if the answer is a login page in HTML.
        if (answer.finished && !isSent) {
            location.reload();
            return;
        }
        answer.elements.forEach(show);
        const bar = section.querySelector("progress");
        if (answer.known) {
            bar.max = answer.known;
            bar.value = answer.asked;
        }
        errors = 0;
        wait();
    }

    function fail() {
        errors += 1;
        if (errors < MAX_ERRORS) {
            wait();
        } else {
            section.querySelector("[data-iletimerkezi-notice]").hidden = false;
        }
    }

    function wait() {
        setTimeout(() => poll().catch(fail), pause);
        pause = Math.min(pause * 1.25, LONGEST_PAUSE);
    }

    document.addEventListener("submit", () => { isSent = true; });
    window.addEventListener("pageshow", () => { isSent = false; });
    document.addEventListener("DOMContentLoaded", () => {
        section = document.querySelector("[data-iletimerkezi-progress]");
        if (section) {
            wait();
        }
    });
}
