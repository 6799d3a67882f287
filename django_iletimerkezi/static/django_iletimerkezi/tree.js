/* The tree of contact groups. Opens and closes rows, loads one level at a time, and handles keys
   according to the ARIA treegrid pattern. Without JavaScript, the toggles are plain links. */
"use strict";
{
    const NUMBERED_FROM = 10; // All rows from this level on share one indent and show their level.

    let table;
    let body;
    let storageKey;
    const opened = new Set(); // Ids of the rows that the user opened.
    const closed = new Set(); // Ids of the rows that the user closed.
    const pages = new Map(); // Number of loaded pages of subgroups, by parent id.
    const boxes = []; // The checkboxes that Django's actions.js manages.

    const rows = () => Array.from(body.rows);
    const shown = () => rows().filter((row) => !row.hidden);
    const level = (row) => Number(row.dataset.level);
    const subgroups = (row) => Number(row.dataset.subgroups || 0);
    const isOpen = (row) => "open" in row.dataset;
    const isBusy = (row) => row.hasAttribute("aria-busy");
    const rowOf = (id) => body.querySelector(`tr[data-id="${id}"]`);
    const moreOf = (id) => body.querySelector(`tr[data-start][data-parent="${id}"]`);
    const toggleOf = (row) => row.querySelector(".iletimerkezi-toggle");
    const stops = (row) => [row, ...row.querySelectorAll("a, input")]; // Focusable elements.
    const setTabIndex = (row, index) => stops(row).forEach((stop) => { stop.tabIndex = index; });
    const pageSize = () => Number(table.dataset.pageSize);
    const isLoaded = (row) =>
        row.nextElementSibling !== null && level(row.nextElementSibling) > level(row);
    const parentOf = (row) => {
        let above = row.previousElementSibling;
        while (above && level(above) >= level(row)) {
            above = above.previousElementSibling;
        }
        return above;
    };

    // Loading

    async function request(query) {
        const response = await fetch(table.dataset.subgroupsUrl + query);
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        if (!response.ok || !page.querySelector("[data-iletimerkezi-subgroups]")) {
            throw new Error("The server returned another page, such as the login page.");
        }
        return Array.from(page.querySelectorAll("tr"));
    }

    function insert(loaded) {
        for (const given of loaded) {
            const { id, parent: parentId } = given.dataset;
            // Skip rows that are already on the page, such as a group that is part of a loop.
            if (id ? rowOf(id) : moreOf(parentId)) {
                continue;
            }
            const row = document.importNode(given, true);
            const parent = rowOf(parentId);
            row.dataset.level = parent ? level(parent) + 1 : 0;
            let before = parent ? parent.nextElementSibling : null;
            while (before && level(before) > level(parent)) {
                before = before.nextElementSibling;
            }
            body.insertBefore(row, before);
            prepare(row);
        }
    }

    async function load(parents) {
        parents.forEach((row) => row.setAttribute("aria-busy", "true"));
        try {
            let left = parents;
            while (left.length) {
                const batch = left.slice(0, pageSize());
                const loaded = await request(batch.map((row) => row.dataset.id).join("&_from="));
                insert(loaded);
                // Request omitted parents again. The server omits parents if its answer is full.
                const answered = new Set(loaded.map((row) => row.dataset.parent));
                left = left.filter((row) =>
                    answered.size ? !answered.has(row.dataset.id) : !batch.includes(row));
            }
        } finally {
            parents.forEach((row) => row.removeAttribute("aria-busy"));
        }
        parents.filter((row) => !isLoaded(row)).forEach(makeLeaf);
    }

    /* Remove the toggle of a row that is in a loop or has lost its subgroups. */
    function makeLeaf(row) {
        const toggle = toggleOf(row);
        const hadFocus = toggle === document.activeElement;
        toggle.remove();
        delete row.dataset.subgroups;
        row.removeAttribute("aria-expanded");
        if (hadFocus) {
            focus(row);
        }
    }

    async function loadMore(more) {
        const { parent, start } = more.dataset;
        const before = more.previousElementSibling;
        more.setAttribute("aria-busy", "true");
        const loaded = await request(`${parent}&_start=${start}`)
            .finally(() => more.removeAttribute("aria-busy"));
        more.remove();
        insert(loaded);
        pages.set(parent, Math.max(pages.get(parent) || 1, start / pageSize() + 1));
        refresh();
        return before.nextElementSibling || before;
    }

    // Opening and closing

    function mark(row, open) {
        row.toggleAttribute("data-open", open);
        row.setAttribute("aria-expanded", open);
        toggleOf(row).setAttribute("aria-expanded", open);
    }

    function setOpen(row, open) {
        mark(row, open);
        (open ? opened : closed).add(row.dataset.id);
        (open ? closed : opened).delete(row.dataset.id);
    }

    async function toggle(row) {
        if (isBusy(row)) {
            return;
        }
        const open = !isOpen(row);
        try {
            if (open && !isLoaded(row)) {
                await load([row]);
            }
        } catch {
            window.location = toggleOf(row).href;
            return;
        }
        if (subgroups(row)) {
            setOpen(row, open);
        }
        refresh();
    }

    async function showMore(more) {
        if (isBusy(more)) {
            return;
        }
        try {
            focus(await loadMore(more));
        } catch {
            window.location = more.querySelector("[data-more]").href;
        }
    }

    /* Return the rows to open next, up to the row limit of the page. */
    function openable() {
        let room = table.dataset.maxRows - body.rows.length;
        const found = [];
        for (const row of shown().filter((row) => subgroups(row) && !isOpen(row))) {
            const size = isLoaded(row) ? 0 : Math.min(subgroups(row), pageSize() + 1);
            if (size <= room) {
                found.push(row);
                room -= size;
            }
        }
        return found;
    }

    async function expandAll() {
        for (let found = openable(); found.length; found = openable()) {
            await load(found.filter((row) => !isLoaded(row)));
            found.filter(subgroups).forEach((row) => setOpen(row, true));
            refresh();
        }
        const isFull = shown().some((row) => subgroups(row) && !isOpen(row));
        const notice = document.querySelector("[data-notice]");
        notice.textContent = isFull ? notice.dataset.notice : "";
    }

    function collapseAll() {
        opened.forEach((id) => closed.add(id));
        opened.clear();
        rows().filter(isOpen).forEach((row) => setOpen(row, false));
        document.querySelector("[data-notice]").textContent = "";
        refresh();
    }

    /* Hide the rows below closed rows, and deselect hidden rows. */
    function refresh() {
        let closedAt = Infinity;
        const unseen = [];
        boxes.length = 0;
        for (const row of body.rows) {
            row.hidden = level(row) > closedAt;
            if (!row.hidden) {
                closedAt = subgroups(row) && !isOpen(row) ? level(row) : Infinity;
            }
            const box = row.querySelector(".action-select");
            if (box && row.hidden && box.checked) {
                unseen.push(box);
            } else if (box && !row.hidden) {
                boxes.push(box);
            }
        }
        const current = body.querySelector('tr[tabindex="0"]');
        if (!current || current.hidden) {
            activate(shown()[0]);
        }
        const counter = document.querySelector(".action-counter");
        if (counter) {
            counter.dataset.actionsIcnt = boxes.length;
            unseen.forEach((box) => box.click()); // Themes update selected rows on click.
            window.dispatchEvent(new Event("pageshow")); // Makes actions.js update its count.
        }
        save(storageKey, { opened: [...opened], closed: [...closed], pages: [...pages] });
    }

    // State between visits

    function save(key, value) {
        try {
            sessionStorage.setItem(key, JSON.stringify(value));
        } catch {
            // Without storage, the state cannot be restored.
        }
    }

    function saved(key, otherwise) {
        try {
            return JSON.parse(sessionStorage.getItem(key)) || otherwise;
        } catch {
            return otherwise;
        }
    }

    /* Reopen the rows that were open on the last visit, from the top down. */
    async function restore() {
        const state = saved(storageKey, { opened: [], closed: [], pages: [] });
        state.opened.forEach((id) => opened.add(id));
        state.closed.forEach((id) => closed.add(id));
        state.pages.forEach(([id, number]) => pages.set(id, number));
        rows().filter((row) => isOpen(row) && closed.has(row.dataset.id))
            .forEach((row) => mark(row, false));
        refresh();
        for (;;) {
            const next = rows().filter((row) =>
                opened.has(row.dataset.id) && subgroups(row) && !isOpen(row));
            const more = rows().find((row) =>
                row.dataset.start / pageSize() < pages.get(row.dataset.parent));
            if (next.length) {
                await load(next.filter((row) => !isLoaded(row)));
                next.filter((row) => subgroups(row) && opened.has(row.dataset.id))
                    .forEach((row) => mark(row, true));
            } else if (more) {
                await loadMore(more);
            } else {
                refresh();
                return;
            }
        }
    }

    /* Scroll to the last position, because the browser scrolls before the rows are loaded. */
    function scrollBack() {
        const top = saved(`${storageKey} scrolled`, 0);
        const isNew = performance.getEntriesByType("navigation")[0].type === "navigate";
        if (!isNew && top > scrollY) {
            scrollTo(scrollX, top);
        }
    }

    // Keys and clicks

    /* Let the Tab key reach only the current row and its controls. */
    function activate(row) {
        const current = body.querySelector('tr[tabindex="0"]');
        if (current && current !== row) {
            setTabIndex(current, -1);
        }
        if (row) {
            setTabIndex(row, 0);
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
        if (level(row) >= NUMBERED_FROM) {
            header.dataset.number = level(row) + 1;
        }
        row.setAttribute("role", "row");
        row.setAttribute("aria-level", level(row) + 1);
        setTabIndex(row, -1);
        if (subgroups(row)) {
            toggleOf(row).setAttribute("role", "button");
            mark(row, isOpen(row));
        }
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
            showMore(row);
        } else if (link.dataset.popupOpener && window.opener) {
            event.preventDefault();
            event.stopImmediatePropagation();
            window.opener.dismissRelatedLookupPopup(window, link.dataset.popupOpener);
        }
    }

    function moveInside(row, step) {
        const places = stops(row);
        places[places.indexOf(document.activeElement) + step]?.focus();
    }

    function moveForward(row, isRow) {
        if (isRow && subgroups(row) && !isOpen(row)) {
            toggle(row);
        } else {
            moveInside(row, 1);
        }
    }

    function moveBack(row, isRow) {
        if (!isRow) {
            moveInside(row, -1);
        } else if (subgroups(row) && isOpen(row)) {
            toggle(row);
        } else {
            focus(parentOf(row));
        }
    }

    const KEYS = {
        ArrowDown: (row) => { const all = shown(); focus(all[all.indexOf(row) + 1]); },
        ArrowUp: (row) => { const all = shown(); focus(all[all.indexOf(row) - 1]); },
        Home: () => focus(shown()[0]),
        End: () => focus(shown().at(-1)),
    };
    const KEYS_ON_ROW = {
        Enter: (row) => row.querySelector("a[id], [data-more]").click(),
        " ": (row) => row.querySelector("input")?.click(),
    };

    function press(event) {
        const row = event.target.closest("tbody tr");
        if (!row || event.ctrlKey || event.metaKey || event.altKey) {
            return;
        }
        const isRow = event.target === row;
        const isRtl = getComputedStyle(table).direction === "rtl";
        const sideways = {
            ArrowRight: isRtl ? moveBack : moveForward,
            ArrowLeft: isRtl ? moveForward : moveBack,
        };
        const isOnToggle = event.target.matches(".iletimerkezi-toggle");
        const act = KEYS[event.key] || sideways[event.key] || (isRow && KEYS_ON_ROW[event.key])
            || (isOnToggle && event.key === " " && toggle);
        if (act) {
            event.preventDefault();
            event.stopPropagation(); // Some themes click buttons when Space is pressed.
            act(row, isRow);
        }
    }

    function start() {
        table = document.querySelector("table.iletimerkezi-tree[data-subgroups-url]");
        if (!table) {
            return;
        }
        body = table.tBodies[0];
        storageKey = `iletimerkezi ${location.pathname}${location.search}`;
        table.setAttribute("role", "treegrid");
        rows().forEach(prepare);
        table.addEventListener("click", click);
        table.addEventListener("keydown", press);
        body.addEventListener("focusin", (event) => activate(event.target.closest("tr")));
        const expand = document.querySelector("[data-expand]");
        expand.addEventListener("click", () => {
            if (expand.hasAttribute("aria-disabled")) {
                return;
            }
            expand.setAttribute("aria-disabled", "true"); // "disabled" would remove the focus.
            expandAll().catch(() => location.reload())
                .finally(() => expand.removeAttribute("aria-disabled"));
        });
        document.querySelector("[data-collapse]").addEventListener("click", collapseAll);
        expand.parentElement.hidden = false;
        window.addEventListener("pagehide", () => save(`${storageKey} scrolled`, scrollY));
        restore().then(scrollBack).catch(refresh);
    }

    /* Prevent a double click from fetching twice. After five seconds, the form can be sent again,
       because a user who still sees the form has probably stopped the request. */
    let sent = new WeakMap();

    function sendOnce(event) {
        if (event.timeStamp - sent.get(event.target) < 5000) {
            event.preventDefault();
        } else if (event.target.method === "post" && !event.defaultPrevented) {
            sent.set(event.target, event.timeStamp);
            event.submitter?.setAttribute("aria-busy", "true");
        }
    }

    // Pass our own list of checkboxes to actions.js, so that the list can include loaded rows.
    const djangoActions = window.Actions;
    if (djangoActions) {
        window.Actions = (given, options) => {
            boxes.splice(0, Infinity, ...given);
            djangoActions(boxes, options);
        };
    }
    document.addEventListener("DOMContentLoaded", start);
    document.addEventListener("submit", sendOnce);
    window.addEventListener("pageshow", () => {
        sent = new WeakMap();
        document.querySelectorAll("[type=submit][aria-busy]").forEach((button) =>
            button.removeAttribute("aria-busy"));
    });
}
