// On a phone the bar scrolls sideways: have it show the section that one is in.
"use strict";
{
  const here = document.querySelector(".bar nav [aria-current]");
  if (here) {
    const bar = here.closest("nav");
    bar.scrollLeft = here.offsetLeft - bar.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
  }
}
