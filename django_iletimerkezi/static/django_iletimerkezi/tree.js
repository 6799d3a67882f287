/* The tree of contact groups: opens and closes rows, loads a level at a time, and takes keys as
   the treegrid pattern of the ARIA Authoring Practices says. Without it toggles are plain links. */
"use strict";
{
    const MOST_ROWS = 900; // Django takes a thousand fields in a form.
    const ROWS_AT_ONCE = 400;
    const PARENTS_AT_ONCE = 50;
    const LEVEL = 100;
    const TWO_CLICKS = 5000; // Milliseconds.
    const NUMBERED = 10; // From this level on all are indented the same.

    const boxes = [];
    let table;
    let body;
    let stateKey;
    /* By id of what was opened how many hundreds of its subgroups are shown, or were when the page
       was left; less than 0 where it has been closed since. */
    let pages = {};

    const rows = () => Array.from(body.rows);
    const shown = () => rows().filter((row) => !row.hidden);
    const level = (row) => Number(row.dataset.level);
    const inside = (row) => Number(row.dataset.inside || 0);
    const isOpen = (row) => "open" in row.dataset;
    const isBusy = (row) => row.hasAttribute("aria-busy");
    const moreOf = (id) => body.querySelector(`tr[data-start][data-parent="${id}"]`);
    const rowOf = (id) => body.querySelector(`tr[data-id="${id}"]`);
    const hasBelow = (row) =>
        row.nextElementSibling !== null && level(row.nextElementSibling) > level(row);
    const parentOf = (row) => {
        let above = row.previousElementSibling;
        while (above && level(above) >= level(row)) {
            above = above.previousElementSibling;
        }
        return above;
    };
    const controls = (row) => Array.from(row.querySelectorAll("a, input"));

    // Loading.

    function request(query) {
        return new Promise((resolve, reject) => {
            const call = new XMLHttpRequest();
            call.open("GET", table.dataset.rowsUrl + query);
            call.responseType = "document";
            call.onload = () => {
                const page = call.response;
                const isOurs = call.status === 200 && page && !page.querySelector("#content");
                (isOurs ? resolve : reject)(isOurs && Array.from(page.querySelectorAll("tr")));
            };
            call.onerror = reject;
            call.send();
        });
    }

    function insert(loaded) {
        for (const given of loaded) {
            const parent = rowOf(given.dataset.parent);
            const isThere = given.dataset.id
                ? rowOf(given.dataset.id) // Only a loop leads to a group twice.
                : moreOf(given.dataset.parent);
            if (isThere) {
                continue;
            }
            const row = document.importNode(given, true);
            row.dataset.level = parent ? level(parent) + 1 : 0;
            let before = parent ? parent.nextElementSibling : null;
            while (before && level(before) > level(parent)) {
                before = before.nextElementSibling;
            }
            body.insertBefore(row, before);
            prepare(row);
        }
    }

    /* What does not fit into one answer is asked for again. */
    async function load(parents) {
        parents.forEach((row) => row.setAttribute("aria-busy", "true"));
        try {
            let left = parents;
            while (left.length) {
                const asked = left.slice(0, PARENTS_AT_ONCE);
                const query = asked.map((row) => `parent=${row.dataset.id}`).join("&");
                const loaded = await request(query);
                insert(loaded);
                const answered = new Set(loaded.map((row) => row.dataset.parent));
                left = left.filter((row) => {
                    return answered.size
                        ? !answered.has(row.dataset.id)
                        : !asked.includes(row);
                });
            }
        } finally {
            parents.forEach((row) => row.removeAttribute("aria-busy"));
        }
        parents.filter((row) => inside(row) && !hasBelow(row)).forEach(makeLeaf);
    }

    /* Of a row in a loop, or one whose subgroups have gone meanwhile. */
    function makeLeaf(row) {
        const toggle = row.querySelector(".iletimerkezi-toggle");
        const hadFocus = toggle === document.activeElement;
        toggle.remove();
        delete row.dataset.inside;
        row.removeAttribute("aria-expanded");
        if (hadFocus) {
            focus(row);
        }
    }

    async function loadMore(more) {
        const id = more.dataset.parent;
        const before = more.previousElementSibling;
        more.setAttribute("aria-busy", "true");
        let loaded;
        try {
            loaded = await request(`parent=${id}&start=${more.dataset.start}`);
        } finally {
            more.removeAttribute("aria-busy");
        }
        more.remove();
        insert(loaded);
        pages[id] = Math.max(pages[id] || 1, more.dataset.start / LEVEL + 1);
        refresh();
        return before.nextElementSibling || before;
    }

    // What is open.

    function mark(row, open) {
        row.toggleAttribute("data-open", open);
        row.setAttribute("aria-expanded", open);
        row.querySelector(".iletimerkezi-toggle").setAttribute("aria-expanded", open);
    }

    async function setOpen(row, open) {
        if (open && !hasBelow(row)) {
            await load([row]);
        }
        if (inside(row)) {
            mark(row, open);
            note(row, open);
        }
        refresh();
    }

    function note(row, open) {
        const number = Math.abs(pages[row.dataset.id] || 1);
        pages[row.dataset.id] = open ? number : -number;
    }

    async function expandAll() {
        for (;;) {
            const closed = shown().filter((row) => inside(row) && !isOpen(row));
            const batch = [];
            let room = Math.min(ROWS_AT_ONCE, MOST_ROWS - body.rows.length);
            for (const row of closed) {
                const size = hasBelow(row) ? 0 : Math.min(inside(row), LEVEL);
                if (size <= room && batch.length < PARENTS_AT_ONCE) {
                    batch.push(row);
                    room -= size;
                }
            }
            const empty = batch.filter((row) => !hasBelow(row));
            if (empty.length) {
                await load(empty);
            }
            for (const row of batch.filter(inside)) {
                mark(row, true);
                note(row, true);
            }
            refresh();
            if (!batch.length) {
                const isLeft = shown().some((row) => inside(row) && !isOpen(row));
                const notice = document.querySelector("[data-notice]");
                notice.textContent = isLeft ? notice.dataset.notice : "";
                return;
            }
        }
    }

    function collapseAll() {
        for (const id of Object.keys(pages)) {
            pages[id] = -Math.abs(pages[id]);
        }
        for (const row of rows().filter(isOpen)) {
            mark(row, false);
            note(row, false);
        }
        document.querySelector("[data-notice]").textContent = "";
        refresh();
    }

    /* Hide what is below closed rows, and let what is hidden not be selected. */
    function refresh() {
        let closedAt = Infinity;
        boxes.length = 0;
        for (const row of body.rows) {
            row.hidden = level(row) > closedAt;
            if (!row.hidden) {
                closedAt = inside(row) && !isOpen(row) ? level(row) : Infinity;
            }
            const box = row.querySelector(".action-select");
            if (box && row.hidden) {
                box.checked = false;
                row.classList.remove("selected");
            } else if (box) {
                boxes.push(box);
            }
        }
        const current = body.querySelector('tr[tabindex="0"]');
        if (!current || current.hidden) {
            activate(shown()[0]);
        }
        const counter = document.querySelector(".action-counter");
        if (counter && counter.textContent) {
            counter.dataset.actionsIcnt = boxes.length;
            window.dispatchEvent(new Event("pageshow")); // Django's actions.js counts anew.
        }
        try {
            sessionStorage.setItem(stateKey, JSON.stringify(pages));
        } catch {
            // Without storage the state lasts as long as the page.
        }
    }

    /* Open again, from the top down, what was open when the page was left. */
    async function restore() {
        const isWanted = (row) => pages[row.dataset.id] > 0;
        for (const row of rows().filter(isOpen)) {
            if (pages[row.dataset.id] < 0) {
                mark(row, false);
            }
        }
        refresh();
        for (;;) {
            const closed = rows().filter((row) => isWanted(row) && inside(row) && !isOpen(row));
            const more = rows().find((row) => {
                return row.dataset.start / LEVEL < pages[row.dataset.parent];
            });
            if (closed.length) {
                await load(closed.filter((row) => !hasBelow(row)));
                closed.filter(inside).filter(isWanted).forEach((row) => mark(row, true));
            } else if (more) {
                await loadMore(more);
            } else {
                refresh();
                return;
            }
        }
    }

    // Keys and clicks.

    /* One row at a time can be reached with Tab, and what is in it. */
    function activate(row) {
        const current = body.querySelector('tr[tabindex="0"]');
        if (current && current !== row) {
            current.tabIndex = -1;
            controls(current).forEach((control) => { control.tabIndex = -1; });
        }
        if (row) {
            row.tabIndex = 0;
            controls(row).forEach((control) => { control.tabIndex = 0; });
        }
    }

    function focus(row) {
        if (row) {
            activate(row);
            row.focus();
        }
    }

    function prepare(row) {
        const header = row.querySelector("th");
        const names = header.getAttribute("aria-labelledby");
        if (names) {
            row.setAttribute("aria-labelledby", names);
        }
        if (level(row) >= NUMBERED) {
            header.dataset.number = level(row) + 1;
        }
        row.setAttribute("role", "row");
        row.setAttribute("aria-level", level(row) + 1);
        row.tabIndex = -1;
        controls(row).forEach((control) => { control.tabIndex = -1; });
        if (inside(row)) {
            row.querySelector(".iletimerkezi-toggle").setAttribute("role", "button");
            mark(row, isOpen(row));
        }
    }

    function toggle(row) {
        if (isBusy(row)) {
            return;
        }
        setOpen(row, !isOpen(row)).catch(() => {
            window.location = row.querySelector(".iletimerkezi-toggle").href;
        });
    }

    function more(row) {
        if (isBusy(row)) {
            return;
        }
        loadMore(row).then(focus).catch(() => {
            window.location = row.querySelector("[data-more]").href;
        });
    }

    function click(event) {
        const link = event.target.closest("a");
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) {
            return;
        }
        const row = link.closest("tr");
        if (link.matches(".iletimerkezi-toggle")) {
            event.preventDefault();
            toggle(row);
        } else if (link.matches("[data-more]")) {
            event.preventDefault();
            more(row);
        } else if (link.dataset.popupOpener && window.opener) {
            event.preventDefault();
            event.stopImmediatePropagation();
            window.opener.dismissRelatedLookupPopup(window, link.dataset.popupOpener);
        }
    }

    function moveInside(row, step) {
        const places = [row, ...controls(row)];
        const place = places[places.indexOf(document.activeElement) + step];
        if (place) {
            place.focus();
        }
    }

    const KEYS = {
        ArrowDown: (row) => { const all = shown(); focus(all[all.indexOf(row) + 1]); },
        ArrowUp: (row) => { const all = shown(); focus(all[all.indexOf(row) - 1]); },
        Home: () => focus(shown()[0]),
        End: () => focus(shown().at(-1)),
    };
    const FORWARD = (row, isRow) => {
        if (isRow && inside(row) && !isOpen(row)) {
            toggle(row);
        } else {
            moveInside(row, 1);
        }
    };
    const BACK = (row, isRow) => {
        if (!isRow) {
            moveInside(row, -1);
        } else if (inside(row) && isOpen(row)) {
            toggle(row);
        } else {
            focus(parentOf(row));
        }
    };
    const ON_ROW = {
        Enter: (row) => row.querySelector("a[id], [data-more]").click(),
        " ": (row) => { const box = row.querySelector("input"); if (box) { box.click(); } },
    };

    function press(event) {
        const row = event.target.closest("tbody tr");
        if (!row || event.ctrlKey || event.metaKey || event.altKey) {
            return;
        }
        const isRow = event.target === row;
        const isRtl = getComputedStyle(table).direction === "rtl";
        const sideways = {
            ArrowRight: isRtl ? BACK : FORWARD,
            ArrowLeft: isRtl ? FORWARD : BACK,
        };
        const act = KEYS[event.key] || sideways[event.key] || (isRow && ON_ROW[event.key])
            || (event.key === " " && event.target.matches(".iletimerkezi-toggle") && toggle);
        if (act) {
            event.preventDefault();
            act(row, isRow);
        }
    }

    function start() {
        table = document.querySelector("table.iletimerkezi-tree[data-rows-url]");
        if (!table) {
            return;
        }
        body = table.tBodies[0];
        stateKey = `iletimerkezi ${location.pathname}${location.search}`;
        table.setAttribute("role", "treegrid");
        try {
            pages = JSON.parse(sessionStorage.getItem(stateKey)) || {};
        } catch {
            pages = {};
        }
        rows().forEach(prepare);
        table.addEventListener("click", click);
        table.addEventListener("keydown", press);
        body.addEventListener("focusin", (event) => activate(event.target.closest("tr")));
        const expand = document.querySelector("[data-expand]");
        expand.addEventListener("click", () => {
            if (expand.hasAttribute("aria-disabled")) {
                return;
            }
            expand.setAttribute("aria-disabled", "true"); // Disabled it would lose the focus.
            expandAll().catch(() => location.reload())
                .finally(() => expand.removeAttribute("aria-disabled"));
        });
        document.querySelector("[data-collapse]").addEventListener("click", collapseAll);
        expand.parentElement.hidden = false;
        window.addEventListener("pagehide", () => {
            try {
                sessionStorage.setItem(`${stateKey} scrolled`, scrollY);
            } catch {
                // As in refresh.
            }
        });
        restore().then(scrollBack).catch(refresh);
    }

    /* The browser has tried it before the rows were there. */
    function scrollBack() {
        const left = sessionStorage.getItem(`${stateKey} scrolled`);
        const isNew = performance.getEntriesByType("navigation")[0].type === "navigate";
        if (!isNew && left > scrollY) {
            scrollTo(scrollX, left);
        }
    }

    /* Two clicks would fetch twice. Who stops a page may send its form again a little later. */
    let sent = new WeakMap();

    function sendOnce(event) {
        if (event.timeStamp - sent.get(event.target) < TWO_CLICKS) {
            event.preventDefault();
        } else if (event.target.method === "post" && !event.defaultPrevented) {
            sent.set(event.target, event.timeStamp);
        }
    }

    // Rows that are loaded later can be selected like others: Django's actions.js is given a list
    // that grows with them.
    const usual = window.Actions;
    if (usual) {
        window.Actions = (given, options) => {
            boxes.splice(0, Infinity, ...given);
            usual(boxes, options);
        };
    }
    document.addEventListener("DOMContentLoaded", start);
    document.addEventListener("submit", sendOnce);
    window.addEventListener("pageshow", () => { sent = new WeakMap(); });
}
